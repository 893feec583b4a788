"""Batches that no loader hands out, beside a loader for evaluation."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
inputs = torch.linspace(-1, 1, 96).unsqueeze(1)
targets = 3 * inputs + 0.5
model = nn.Linear(1, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
evaluation = DataLoader(TensorDataset(inputs, targets), batch_size=10)
for epoch in range(2):
    for start in range(0, 96, 16):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(inputs[start : start + 16]), targets[start : start + 16])
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        error = sum(nn.functional.l1_loss(model(x), y, reduction="sum").item() for x, y in evaluation)
    print(f"epoch {epoch}: error {error / 96:.5f}")
