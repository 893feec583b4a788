"""A training on one device, as one writes it: the script that lesson 4 takes to several workers."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
data = torch.Generator().manual_seed(7)
inputs = torch.randn(53, 6, generator=data)
targets = inputs.sum(dim=1, keepdim=True).sin()

train_set = TensorDataset(inputs, targets)
train_loader = DataLoader(train_set, batch_size=16, shuffle=True)
model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1)).to(device)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

for epoch in range(2):
    total = 0.0
    for x, y in train_loader:
        x, y = x.to(device), y.to(device)
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(x)
    print(f"epoch {epoch}: loss {total / len(train_set):.5f}")

torch.save(model.state_dict(), "model.pt")
