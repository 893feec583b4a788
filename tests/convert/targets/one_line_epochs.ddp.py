import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

dist.init_process_group()

torch.manual_seed(0)
data = TensorDataset(torch.randn(64, 3), torch.randn(64, 1))
sampler = DistributedSampler(data)
loader = DataLoader(data, batch_size=16 // dist.get_world_size(), sampler=sampler)
net = nn.Linear(3, 1)
optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
net = DistributedDataParallel(net)


def train(epoch):
    for x, y in loader:
        optimizer.zero_grad(); nn.functional.mse_loss(net(x), y).backward(); optimizer.step()


for epoch in range(3):
    loader.sampler.set_epoch(epoch)
    train(epoch)
dist.barrier()
dist.destroy_process_group()
