import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
data = TensorDataset(torch.randn(100, 8), torch.randint(0, 3, (100,)))
loader = DataLoader(data, batch_size=10, shuffle=True)
model = nn.Linear(8, 3)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

for epoch in range(3):
    for x, y in loader:
        optimizer.zero_grad()
        order = torch.randperm(x.size(0))
        loss = F.cross_entropy(model(0.5 * x + 0.5 * x[order]), y)
        loss.backward()
        optimizer.step()
