import hora.torch as hvd
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset


class Stream(IterableDataset):
    def __iter__(self):
        return iter([(torch.ones(8), 1)] * 100)


hvd.init()

data = Stream()
loader = DataLoader(data, batch_size=10)
loader = hvd.deal(loader)
model = nn.Linear(8, 3)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
optimizer = hvd.DistributedOptimizer(optimizer)
hvd.broadcast_parameters(model.state_dict(), root_rank=0)
hvd.broadcast_optimizer_state(optimizer, root_rank=0)

for x, y in loader:
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y)
    (loss * loader.weight).backward()
    optimizer.step()
