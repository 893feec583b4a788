import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
loader = DataLoader(TensorDataset(torch.randn(64, 4), torch.randn(64, 1)), batch_size=16, shuffle=True)
model = nn.Linear(4, 1)
alpha = nn.Parameter(torch.ones(1))
optimizer = torch.optim.SGD([*model.parameters(), alpha], lr=0.1)
for epoch in range(2):
    for x, y in loader:
        loss = nn.functional.mse_loss(alpha * model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
