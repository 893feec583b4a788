"""Noise is drawn for each batch, after a seed."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
x = torch.randn(64, 6)
loader = DataLoader(TensorDataset(x), batch_size=16, shuffle=True)
model = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.2), nn.ReLU(), nn.Linear(8, 6))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for epoch in range(3):
    for (images,) in loader:
        optimizer.zero_grad()
        noise = torch.randn_like(images)
        loss = nn.functional.mse_loss(model(images + noise), noise)
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch}")
