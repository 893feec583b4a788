"""Loaders whose options come in dictionaries, and gradients that are clipped."""

import argparse
import os

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler


def share_of(loader):
    """Give this worker its share of a loader's batches, in an order that all workers agree on."""
    if not isinstance(loader.sampler, (torch.utils.data.RandomSampler, torch.utils.data.SequentialSampler)):
        raise TypeError(f"{type(loader.sampler).__name__} is not one that DistributedSampler can stand for")
    shuffle = isinstance(loader.sampler, torch.utils.data.RandomSampler)
    return torch.utils.data.DataLoader(
        loader.dataset,
        batch_size=loader.batch_size // dist.get_world_size(),
        sampler=DistributedSampler(loader.dataset, shuffle=shuffle),
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        drop_last=loader.drop_last,
        worker_init_fn=loader.worker_init_fn,
        persistent_workers=loader.persistent_workers,
    )


def object_from_worker_0(value):
    """Give every worker the object that worker 0 has."""
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


def train(model, loader, optimizer, device):
    model.train()
    for x, y in loader:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x.to(device)), y.to(device))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


def test(model, loader, device):
    model.eval()
    correct = 0
    with torch.no_grad():
        for x, y in loader:
            correct += (model(x.to(device)).argmax(1) == y.to(device)).sum().item()
    if dist.get_rank() == 0:
        print(f"accuracy {correct / len(loader.dataset):.2%}")


def main():
    dist.init_process_group()
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    torch.manual_seed(object_from_worker_0(torch.initial_seed()))
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch-size", type=int, default=64)
    args = parser.parse_args()
    cuda = torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    train_kwargs = {"batch_size": args.batch_size, "shuffle": True}
    if cuda:
        train_kwargs.update({"num_workers": 1, "pin_memory": True})
    data = TensorDataset(torch.randn(256, 8), torch.randint(4, (256,)))
    train_loader = DataLoader(data, **train_kwargs)
    train_loader = share_of(train_loader)
    test_loader = DataLoader(data, batch_size=1000)
    model = nn.Linear(8, 4).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model = DistributedDataParallel(model)
    for epoch in range(1, 4):
        train_loader.sampler.set_epoch(epoch)
        train(model, train_loader, optimizer, device)
        test(model, test_loader, device)
    if dist.get_rank() == 0:
        torch.save(model.module.state_dict(), "model.pt")


if __name__ == "__main__":
    main()
    dist.barrier()
    dist.destroy_process_group()
