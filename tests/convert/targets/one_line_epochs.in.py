import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
data = TensorDataset(torch.randn(64, 3), torch.randn(64, 1))
loader = DataLoader(data, batch_size=16, shuffle=True); net = nn.Linear(3, 1)
optimizer = torch.optim.SGD(net.parameters(), lr=0.01)


def train(epoch):
    for x, y in loader:
        optimizer.zero_grad(); nn.functional.mse_loss(net(x), y).backward(); optimizer.step()


for epoch in range(3): train(epoch)
