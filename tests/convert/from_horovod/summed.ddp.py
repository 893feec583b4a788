import os
import sys

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel


def sum_over_workers(tensor):
    """Add up a tensor over the workers."""
    total = tensor.detach().clone()
    dist.all_reduce(total)
    return total


def rows_of_workers(tensor):
    """Give the rows of all workers' tensors, in the order of the workers; their numbers may differ."""
    tensors = [None] * dist.get_world_size()
    dist.all_gather_object(tensors, tensor.detach().cpu())
    return torch.cat(tensors).to(tensor.device)


def add_up(state, bucket):
    """Add up a bucket of gradients over the workers, which DistributedDataParallel would average."""
    reduced = dist.all_reduce(bucket.buffer(), async_op=True)
    return reduced.get_future().then(lambda future: future.value()[0])


dist.init_process_group()
torch.manual_seed(1)
x = torch.randn(64, 3).chunk(dist.get_world_size())[dist.get_rank()]
model = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1))
model_optimizer = torch.optim.SGD(model.parameters(), lr=0.1 / dist.get_world_size())
model = DistributedDataParallel(model)
model.register_comm_hook(None, add_up)
for step in range(10):
    model_optimizer.zero_grad()
    loss = model(x).sub(x.sum(1, keepdim=True)).square().mean()
    loss.backward()
    model_optimizer.step()
total = sum_over_workers(loss.detach())
rows = rows_of_workers(loss.detach().view(1))
if dist.get_rank() == 0:
    print(f"worker {os.environ['LOCAL_RANK']}:", total.item(), rows.shape)
    torch.save(model.module.state_dict(), sys.argv[1])
dist.barrier()
dist.destroy_process_group()
