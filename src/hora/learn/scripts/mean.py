"""A small training on one device: its loss is a mean, and the last batch of each epoch is smaller."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

data = torch.Generator().manual_seed(7)
inputs = torch.randn(53, 6, generator=data)
targets = inputs.sum(dim=1, keepdim=True).sin()

loader = DataLoader(TensorDataset(inputs, targets), batch_size=16, shuffle=True)
model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

for epoch in range(4):
    for x, y in loader:
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
