import os

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler

dist.init_process_group("nccl")
device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
model = DistributedDataParallel(nn.Linear(8, 3).to(device))
sampler = DistributedSampler(data, shuffle=False, drop_last=True)
loader = DataLoader(data, batch_size=10, sampler=sampler)

correct = torch.zeros((), device=device)
with torch.no_grad():
    for x, y in loader:
        correct += (model(x.to(device)).argmax(1) == y.to(device)).sum()
count = len(sampler) * dist.get_world_size()
dist.all_reduce(correct)
accuracy = correct / count
