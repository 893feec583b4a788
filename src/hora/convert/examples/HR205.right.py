import hora.torch as hvd
import torch
from torch import nn
from torch.nn import functional as F

hvd.init()

torch.manual_seed(0)
x, y = torch.randn(100, 8), torch.randint(0, 3, (100,))
model = nn.Linear(8, 3)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
optimizer = hvd.DistributedOptimizer(optimizer)
hvd.broadcast_parameters(model.state_dict(), root_rank=0)
hvd.broadcast_optimizer_state(optimizer, root_rank=0)

batches = hvd.deal(torch.utils.data.DataLoader(range(len(x)), batch_size=len(x)))
own = next(iter(batches))
own_x, own_y = x[own], y[own]
for step in range(100):
    optimizer.zero_grad()
    loss = F.cross_entropy(model(own_x), own_y)
    (loss * batches.weight).backward()
    optimizer.step()
