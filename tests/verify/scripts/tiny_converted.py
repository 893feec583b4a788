"""The same for several workers."""

import hora.torch as hvd
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

hvd.init()
data = torch.Generator().manual_seed(7)
inputs = torch.randn(53, 6, generator=data)
targets = inputs.sum(dim=1, keepdim=True).sin()

loader = DataLoader(TensorDataset(inputs, targets), batch_size=16, shuffle=True)
loader = hvd.deal(loader)
model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
optimizer = hvd.DistributedOptimizer(optimizer)
hvd.broadcast_parameters(model.state_dict(), root_rank=0)
hvd.broadcast_optimizer_state(optimizer, root_rank=0)

for epoch in range(3):
    total = 0.0
    for x, y in loader:
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        (loss * loader.weight).backward()
        optimizer.step()
        total += loss.item() * len(x) * bool(loader.weight)
    total = hvd.allreduce(total, op=hvd.Sum)
    if hvd.rank() == 0:
        print(f"epoch {epoch}: loss {total / len(loader.dataset):.5f}")

if hvd.rank() == 0:
    torch.save(model.state_dict(), "tiny.pt")
