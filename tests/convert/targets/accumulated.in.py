import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

data = TensorDataset(torch.randn(64, 3), torch.randn(64, 1))
loader = DataLoader(data, batch_size=16, shuffle=True)
net = nn.Linear(3, 1)
optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
for epoch in range(2):
    for step, (x, y) in enumerate(loader):
        (nn.functional.mse_loss(net(x), y) / 2).backward()
        if step % 2:
            optimizer.step()
            optimizer.zero_grad()
