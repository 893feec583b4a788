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


def loader_of(count, shuffle):
    data = TensorDataset(torch.ones(count, 3), torch.arange(float(count)).unsqueeze(1) / count)
    return DataLoader(data, batch_size=16, shuffle=shuffle)


dist.init_process_group()

torch.manual_seed(0)
train_loader = loader_of(64, True)
train_loader = share_of(train_loader)
test_loader = loader_of(32, False)
net = nn.Linear(3, 1)
optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
net = DistributedDataParallel(net)
for epoch in range(3):
    train_loader.sampler.set_epoch(epoch)
    for x, y in train_loader:
        optimizer.zero_grad()
        nn.functional.mse_loss(net(x), y).backward()
        optimizer.step()
    with torch.no_grad():
        error = sum((net(x) - y).square().sum().item() for x, y in test_loader)
    if dist.get_rank() == 0:
        print(f"epoch {epoch}: {error / len(test_loader.dataset):.4f}")
dist.barrier()
dist.destroy_process_group()
