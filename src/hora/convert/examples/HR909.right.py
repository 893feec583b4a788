import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


class Trainer:
    def run(self, model, loader, optimizer):
        for x, y in loader:
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


data = TensorDataset(torch.randn(100, 8), torch.randint(0, 3, (100,)))
model = nn.Linear(8, 3)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
Trainer().run(model, DataLoader(data, batch_size=10, shuffle=True), optimizer)
