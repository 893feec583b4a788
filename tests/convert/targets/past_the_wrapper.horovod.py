import horovod.torch as hvd
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def loss(self, x, y):
        return (self.layer(x) - y).square().mean()


hvd.init()
torch.manual_seed(hvd.broadcast_object(torch.initial_seed(), root_rank=0))

data = TensorDataset(torch.randn(64, 3), torch.randn(64, 1))
sampler = DistributedSampler(data, num_replicas=hvd.size(), rank=hvd.rank(), shuffle=False)
loader = DataLoader(data, batch_size=16 // hvd.size(), sampler=sampler)
net = Net()
optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
optimizer = hvd.DistributedOptimizer(optimizer, named_parameters=net.named_parameters())
hvd.broadcast_parameters(net.state_dict(), root_rank=0)
hvd.broadcast_optimizer_state(optimizer, root_rank=0)
for x, y in loader:
    optimizer.zero_grad()
    net.loss(x, y).backward()
    optimizer.step()
