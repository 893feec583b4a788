"""Sorts points by their sign, on several workers."""

import argparse

import horovod.torch as hvd
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

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
    return hvd.allreduce(torch.tensor(value), name=name).item()


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
hvd.init()
torch.manual_seed(3)
if torch.cuda.is_available():
    # Horovod: pin GPU to local rank.
    torch.cuda.set_device(hvd.local_rank())

points = torch.randn(128, 8)
data = TensorDataset(points, (points.sum(1) > 0).long())
# Horovod: partition the data.
sampler = DistributedSampler(data, num_replicas=hvd.size(), rank=hvd.rank())
loader = DataLoader(data, batch_size=8, sampler=sampler)
test_sampler = DistributedSampler(data, num_replicas=hvd.size(), rank=hvd.rank(), shuffle=False)
test_loader = DataLoader(data, batch_size=32, sampler=test_sampler)

torch.manual_seed(hvd.rank())
model = Net()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05 * hvd.size(), momentum=0.9)

# Horovod: broadcast parameters & optimizer state.
hvd.broadcast_parameters(model.state_dict(), root_rank=0)
hvd.broadcast_optimizer_state(optimizer, root_rank=0)

# Horovod: (optional) compression algorithm.
compression = hvd.Compression.fp16 if args.fp16_allreduce else hvd.Compression.none

# Horovod: wrap optimizer with DistributedOptimizer.
optimizer = hvd.DistributedOptimizer(
    optimizer,
    named_parameters=model.named_parameters(),
    compression=compression,
    gradient_predivide_factor=2.0,
)

for epoch in range(args.epochs):
    loss, accuracy = train(epoch), test()
    if hvd.rank() == 0:
        print(f"epoch {epoch} on {hvd.size()} workers: loss {loss:.4f}, accuracy {accuracy:.4f}")

# Horovod: worker 0 writes.
if hvd.rank() == 0:
    torch.save(model.state_dict(), args.save)
