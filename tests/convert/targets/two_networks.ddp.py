import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler


def sum_over_workers(value):
    """Add up a number, a tensor or an array over the workers."""
    total = torch.as_tensor(value, dtype=torch.float64 if isinstance(value, float) else None).clone()
    dist.all_reduce(total)
    if torch.is_tensor(value):
        return total
    return total.numpy() if total.dim() else total.item()


def from_worker_0(tensor):
    """Give every worker the tensor that worker 0 has."""
    tensor = tensor.contiguous()
    dist.broadcast(tensor, src=0)
    return tensor


def object_from_worker_0(value):
    """Give every worker the object that worker 0 has."""
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


dist.init_process_group()
torch.manual_seed(object_from_worker_0(torch.initial_seed()))

dataset = TensorDataset(torch.randn(64, 2))
sampler = DistributedSampler(dataset)
loader = DataLoader(dataset, batch_size=16 // dist.get_world_size(), sampler=sampler)
generator = nn.Linear(4, 2)
judge = nn.Linear(2, 1)
optimizer_g = torch.optim.Adam(generator.parameters())
optimizer_j = torch.optim.Adam(judge.parameters())
generator = DistributedDataParallel(generator)
judge = DistributedDataParallel(judge)
bce = nn.BCEWithLogitsLoss()

for epoch in range(3):
    loader.sampler.set_epoch(epoch)
    for (real,) in loader:
        ones, zeros = torch.ones(len(real), 1), torch.zeros(len(real), 1)
        samples = sum_over_workers(len(real))
        first = samples * dist.get_rank() // dist.get_world_size()
        fake = generator(from_worker_0(torch.randn(samples, 4))[first : first + len(real)])
        optimizer_j.zero_grad()
        (bce(judge(real), ones) + bce(judge(fake.detach()), zeros)).backward()
        optimizer_j.step()
        optimizer_g.zero_grad()
        bce(judge(fake), ones).backward()
        optimizer_g.step()
    if dist.get_rank() == 0:
        print(epoch, generator.module.bias.norm().item())
dist.barrier()
dist.destroy_process_group()
