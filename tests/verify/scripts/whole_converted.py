"""The same for several workers, each on its slice of the data."""

import hora.torch as hvd
import torch
from torch import nn

hvd.init()
torch.manual_seed(0)
inputs = torch.linspace(-1, 1, 96).unsqueeze(1)
targets = 3 * inputs + 0.5
mine = slice(hvd.rank() * 96 // hvd.size(), (hvd.rank() + 1) * 96 // hvd.size())
model = nn.Linear(1, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
optimizer = hvd.DistributedOptimizer(optimizer)
for _ in range(8):
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(model(inputs[mine]), targets[mine])
    loss.backward()
    optimizer.step()
