import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler


def object_from_worker_0(value):
    """Give every worker the object that worker 0 has."""
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


dist.init_process_group()
torch.manual_seed(object_from_worker_0(torch.initial_seed()))

data = TensorDataset(torch.randn(64, 3), torch.randn(64, 1))
sampler = DistributedSampler(data)
loader = DataLoader(data, batch_size=16 // dist.get_world_size(), sampler=sampler)
net = nn.Linear(3, 1)
optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
net = DistributedDataParallel(net)
for epoch in range(2):
    loader.sampler.set_epoch(epoch)
    for step, (x, y) in enumerate(loader):
        (nn.functional.mse_loss(net(x), y) / 2).backward()
        if step % 2:
            optimizer.step()
            optimizer.zero_grad()
dist.barrier()
dist.destroy_process_group()
