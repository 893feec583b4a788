"""Resumes, accumulates over two batches, clips, and tells the workers' losses apart."""

import os
import sys

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler


def average_over_workers(tensor):
    """Average a tensor over the workers; integers lose their fraction."""
    total = tensor.detach().clone()
    dist.all_reduce(total)
    return torch.div(total, dist.get_world_size(), rounding_mode=None if total.is_floating_point() else "trunc")


def tensor_from_worker(tensor, root_rank):
    """Give every worker the tensor that one of them has."""
    tensor = tensor.detach().clone()
    dist.broadcast(tensor, src=root_rank)
    return tensor


def object_from_worker(obj, root_rank=0):
    """Give every worker the object that one of them has."""
    objects = [obj]
    dist.broadcast_object_list(objects, src=root_rank)
    return objects[0]


def objects_of_workers(obj):
    """Give every worker the objects of all, in the order of the workers."""
    objects = [None] * dist.get_world_size()
    dist.all_gather_object(objects, obj)
    return objects


def resume(model, optimizer):
    torch.manual_seed(7)
    checkpoint = {key: torch.randn_like(value) / 4 for key, value in model.state_dict().items()}
    model.load_state_dict(checkpoint)
    state = optimizer.state_dict()
    state["state"] = {i: {"momentum_buffer": torch.ones_like(p) / 8} for i, p in enumerate(model.parameters())}
    optimizer.load_state_dict(state)
    return 1


def train(model, loader, optimizer):
    for step, (x, y) in enumerate(loader):
        loss = F.mse_loss(model(x), y) / 2
        loss.backward()
        if (step + 1) % 2 == 0:
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            # The reduced gradients were clipped.
            optimizer.step()
            optimizer.zero_grad()
    return loss.detach()


def main():
    dist.init_process_group()
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    torch.manual_seed(3)
    x = torch.randn(96, 4)
    data = TensorDataset(x, x.sum(1, keepdim=True))
    sampler = DistributedSampler(data, dist.get_world_size(), dist.get_rank())
    loader = DataLoader(data, batch_size=6, sampler=sampler)

    torch.manual_seed(dist.get_rank())
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    first = 0
    # Only worker 0 reads the checkpoint.
    if dist.get_rank() == 0:
        first = resume(model, optimizer)
    first = tensor_from_worker(torch.tensor(first), root_rank=0).item()
    name = object_from_worker(sys.argv[1] if dist.get_rank() == 0 else None, root_rank=0)

    model = DistributedDataParallel(model)
    optimizer.load_state_dict(object_from_worker(optimizer.state_dict()))

    for epoch in range(first, 4):
        sampler.set_epoch(epoch)
        loss = train(model, loader, optimizer)
        losses = objects_of_workers(loss.item())
        loss.copy_(average_over_workers(loss))
        if dist.get_rank() == 0:
            print(epoch, loss.item(), len(losses))
    if dist.get_rank() == 0:
        torch.save(model.module.state_dict(), name)


if __name__ == "__main__":
    main()
    dist.barrier()
    dist.destroy_process_group()
