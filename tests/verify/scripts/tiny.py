"""A training script for one device, as small as one can be: its tail batch divides by neither 2 nor 3."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

data = torch.Generator().manual_seed(7)
inputs = torch.randn(53, 6, generator=data)
targets = inputs.sum(dim=1, keepdim=True).sin()

loader = DataLoader(TensorDataset(inputs, targets), batch_size=16, shuffle=True)
model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

for epoch in range(3):
    total = 0.0
    for x, y in loader:
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(x)
    print(f"epoch {epoch}: loss {total / len(loader.dataset):.5f}")

torch.save(model.state_dict(), "tiny.pt")
