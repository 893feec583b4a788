"""Sorts points by their sign, on several workers."""

import argparse
import os

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler


def average_over_workers(tensor):
    """Average a tensor over the workers; integers lose their fraction."""
    total = tensor.detach().clone()
    dist.all_reduce(total)
    return torch.div(total, dist.get_world_size(), rounding_mode=None if total.is_floating_point() else "trunc")


parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=2)
parser.add_argument("--fp16-allreduce", action="store_true")
parser.add_argument("--save", default="model.pt")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))

    def forward(self, x):
        return self.layers(x)


def average(value, name):
    return average_over_workers(torch.tensor(value)).item()


def train(epoch):
    model.train()
    # Horovod: a new order in each epoch.
    sampler.set_epoch(epoch)
    for x, y in loader:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
    return loss.item()


def test():
    model.eval()
    correct = 0.0
    with torch.no_grad():
        for x, y in test_loader:
            correct += (model(x).argmax(1) == y).float().sum().item()
    return average(correct / len(test_sampler), "accuracy")


args = parser.parse_args()

# Horovod: initialize library.
dist.init_process_group()
torch.manual_seed(3)
if torch.cuda.is_available():
    # Horovod: pin GPU to local rank.
    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))

points = torch.randn(128, 8)
data = TensorDataset(points, (points.sum(1) > 0).long())
# Horovod: partition the data.
sampler = DistributedSampler(data, num_replicas=dist.get_world_size(), rank=dist.get_rank())
loader = DataLoader(data, batch_size=8, sampler=sampler)
test_sampler = DistributedSampler(data, num_replicas=dist.get_world_size(), rank=dist.get_rank(), shuffle=False)
test_loader = DataLoader(data, batch_size=32, sampler=test_sampler)

torch.manual_seed(dist.get_rank())
model = Net()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05 * dist.get_world_size(), momentum=0.9)

# Horovod: broadcast parameters & optimizer state.
for buffer in model.buffers():
    dist.broadcast(buffer, src=0)
model = DistributedDataParallel(model, broadcast_buffers=False)

# Horovod: (optional) compression algorithm.
compression = default_hooks.fp16_compress_hook if args.fp16_allreduce else default_hooks.allreduce_hook

model.register_comm_hook(None, compression)

for epoch in range(args.epochs):
    loss, accuracy = train(epoch), test()
    if dist.get_rank() == 0:
        print(f"epoch {epoch} on {dist.get_world_size()} workers: loss {loss:.4f}, accuracy {accuracy:.4f}")

# Horovod: worker 0 writes.
if dist.get_rank() == 0:
    torch.save(model.module.state_dict(), args.save)
dist.barrier()
dist.destroy_process_group()
