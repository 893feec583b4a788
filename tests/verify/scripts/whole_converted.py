"""The same for several workers, the places of the samples dealt."""

import hora.torch as hvd
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

hvd.init()
torch.manual_seed(0)
inputs = torch.linspace(-1, 1, 96).unsqueeze(1)
targets = 3 * inputs + 0.5
model = nn.Linear(1, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
optimizer = hvd.DistributedOptimizer(optimizer)
evaluation = DataLoader(TensorDataset(inputs, targets), batch_size=10)
batches = hvd.deal(DataLoader(range(96), batch_size=16))
for epoch in range(2):
    for own in batches:
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(inputs[own]), targets[own])
        (loss * batches.weight).backward()
        optimizer.step()
    with torch.no_grad():
        error = sum(nn.functional.l1_loss(model(x), y, reduction="sum").item() for x, y in evaluation)
    if hvd.rank() == 0:
        print(f"epoch {epoch}: error {error / 96:.5f}")
