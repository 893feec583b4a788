"""A stream of samples through a shuffle buffer, which nothing numbers; its tail batch is a small one."""

import random

import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

random.seed(1)
torch.manual_seed(1)


class Lines(IterableDataset):
    def __iter__(self):
        data = torch.Generator().manual_seed(7)
        buffer = []
        for _ in range(66):
            x = torch.randn(6, generator=data)
            buffer.append((x, x.sum().sin().reshape(1)))
            if len(buffer) == 8:
                yield buffer.pop(random.randrange(8))
        yield from buffer


loader = DataLoader(Lines(), batch_size=12)
model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

for epoch in range(3):
    total = 0.0
    for x, y in loader:
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(x)
    print(f"epoch {epoch}: loss {total / 66:.5f}")
