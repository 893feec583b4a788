"""Exercise 2: somebody took this script to several workers, and three things are wrong. Mend them.

Several workers must train what one worker trains with a batch of 16 and a rate of 0.05. The judge is `hora verify`.
"""

import hora.torch as hvd
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

hvd.init()
data = torch.Generator().manual_seed(11)
inputs = torch.randn(53, 6, generator=data)
targets = inputs.prod(dim=1, keepdim=True).tanh()

loader = DataLoader(TensorDataset(inputs, targets), batch_size=16, shuffle=True)
loader = hvd.deal(loader)  # each worker gets its slice of each batch of 16; loader.weight is what the slice counts
model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05 * hvd.size())
optimizer = hvd.DistributedOptimizer(optimizer)

for epoch in range(4):
    for x, y in loader:
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
