import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

data = TensorDataset(torch.randn(100, 8), torch.randint(0, 3, (100,)))
loader = DataLoader(data, batch_size=10, shuffle=True)
weight = torch.zeros(8, 3, requires_grad=True)


def model(x):
    return x @ weight


optimizer = torch.optim.SGD([weight], lr=0.1)

for epoch in range(3):
    for x, y in loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
