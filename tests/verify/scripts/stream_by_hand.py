"""The same by hand: each worker reads the whole stream, keeps every N-th sample, and all stop when one has no batch."""

import random
from itertools import islice

import hora.torch as hvd
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

hvd.init()
random.seed(1)
torch.manual_seed(1)


class Lines(IterableDataset):
    def __iter__(self):
        info = get_worker_info()
        own, workers = (0, 1) if info is None else (info.id, info.num_workers)
        return islice(self.samples(), hvd.rank() * workers + own, None, hvd.size() * workers)

    def samples(self):
        data = torch.Generator().manual_seed(7)
        buffer = []
        for _ in range(66):
            x = torch.randn(6, generator=data)
            buffer.append((x, x.sum().sin().reshape(1)))
            if len(buffer) == 8:
                yield buffer.pop(random.randrange(8))
        yield from buffer


loader = DataLoader(Lines(), batch_size=12 // hvd.size())
model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
optimizer = hvd.DistributedOptimizer(optimizer)
hvd.broadcast_parameters(model.state_dict(), root_rank=0)
hvd.broadcast_optimizer_state(optimizer, root_rank=0)

for epoch in range(3):
    total = 0.0
    batches = iter(loader)
    while True:
        batch = next(batches, None)
        if not hvd.allreduce(float(batch is not None), op=hvd.Min):
            break
        x, y = batch
        optimizer.zero_grad()
        count = hvd.allreduce(len(x), op=hvd.Sum)
        loss = nn.functional.mse_loss(model(x), y, reduction="sum") / count
        (loss * hvd.size()).backward()
        optimizer.step()
        total += loss.item() * count
    total = hvd.allreduce(total, op=hvd.Sum)
    if hvd.rank() == 0:
        print(f"epoch {epoch}: loss {total / 66:.5f}")
