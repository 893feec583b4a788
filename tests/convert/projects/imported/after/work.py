import hora.torch as hvd
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

import settings

torch.manual_seed(3)
x = torch.randn(60, 4)
loader = DataLoader(TensorDataset(x, x.sum(dim=1, keepdim=True)), batch_size=settings.BATCH, shuffle=True)
loader = hvd.deal(loader)
model = torch.nn.Linear(4, 1).to(settings.DEVICE)
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
optimizer = hvd.DistributedOptimizer(optimizer)
hvd.broadcast_parameters(model.state_dict(), root_rank=0)
hvd.broadcast_optimizer_state(optimizer, root_rank=0)
last = 0.0
for epoch in range(2):
    last = 0.0
    for a, b in loader:
        loss = F.mse_loss(model(a.to(settings.DEVICE)), b.to(settings.DEVICE))
        optimizer.zero_grad()
        (loss * loader.weight).backward()
        optimizer.step()
        last += loss.item() * loader.weight
    last = hvd.allreduce(last)
    last /= len(loader)
    if hvd.rank() == 0:
        print(epoch, last)
