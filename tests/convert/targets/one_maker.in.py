import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def loader_of(count, shuffle):
    data = TensorDataset(torch.ones(count, 3), torch.arange(float(count)).unsqueeze(1) / count)
    return DataLoader(data, batch_size=16, shuffle=shuffle)


torch.manual_seed(0)
train_loader = loader_of(64, True)
test_loader = loader_of(32, False)
net = nn.Linear(3, 1)
optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
for epoch in range(3):
    for x, y in train_loader:
        optimizer.zero_grad()
        nn.functional.mse_loss(net(x), y).backward()
        optimizer.step()
    with torch.no_grad():
        error = sum((net(x) - y).square().sum().item() for x, y in test_loader)
    print(f"epoch {epoch}: {error / len(test_loader.dataset):.4f}")
