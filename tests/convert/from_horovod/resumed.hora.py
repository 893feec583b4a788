"""Resumes, accumulates over two batches, clips, and tells the workers' losses apart."""

import sys

import torch
import torch.nn.functional as F
from hora.torch import (
    DistributedOptimizer,
    allgather_object,
    allreduce_,
    broadcast,
    broadcast_object,
    broadcast_optimizer_state,
    broadcast_parameters,
    init,
    local_rank,
    rank,
    size,
)
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler


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
            optimizer.synchronize()
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            with optimizer.skip_synchronize():
                # The reduced gradients were clipped.
                optimizer.step()
            optimizer.zero_grad()
    return loss.detach()


def main():
    init()
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank())
    torch.manual_seed(3)
    x = torch.randn(96, 4)
    data = TensorDataset(x, x.sum(1, keepdim=True))
    sampler = DistributedSampler(data, size(), rank())
    loader = DataLoader(data, batch_size=6, sampler=sampler)

    torch.manual_seed(rank())
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    first = 0
    # Only worker 0 reads the checkpoint.
    if rank() == 0:
        first = resume(model, optimizer)
    first = broadcast(torch.tensor(first), root_rank=0, name="first").item()
    name = broadcast_object(sys.argv[1] if rank() == 0 else None, root_rank=0)

    optimizer = DistributedOptimizer(optimizer, model.named_parameters(), backward_passes_per_step=2)
    broadcast_parameters(model.state_dict(), root_rank=0)
    broadcast_optimizer_state(optimizer, root_rank=0)

    for epoch in range(first, 4):
        sampler.set_epoch(epoch)
        loss = train(model, loader, optimizer)
        losses = allgather_object(loss.item())
        allreduce_(loss, name="loss")
        if rank() == 0:
            print(epoch, loss.item(), len(losses))
    if rank() == 0:
        torch.save(model.state_dict(), name)


if __name__ == "__main__":
    main()
