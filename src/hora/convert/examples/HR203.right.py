import os

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Subset

dist.init_process_group("nccl")
device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
model = DistributedDataParallel(nn.Linear(8, 3).to(device))
own = Subset(data, range(dist.get_rank(), len(data), dist.get_world_size()))
loader = DataLoader(own, batch_size=10)

correct = torch.zeros((), device=device)
model.eval()
with torch.no_grad():
    for x, y in loader:
        correct += (model.module(x.to(device)).argmax(1) == y.to(device)).sum()
dist.all_reduce(correct)
