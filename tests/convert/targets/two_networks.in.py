import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

dataset = TensorDataset(torch.randn(64, 2))
loader = DataLoader(dataset, batch_size=16, shuffle=True)
generator = nn.Linear(4, 2)
judge = nn.Linear(2, 1)
optimizer_g = torch.optim.Adam(generator.parameters())
optimizer_j = torch.optim.Adam(judge.parameters())
bce = nn.BCEWithLogitsLoss()

for epoch in range(3):
    for (real,) in loader:
        ones, zeros = torch.ones(len(real), 1), torch.zeros(len(real), 1)
        fake = generator(torch.randn(len(real), 4))
        optimizer_j.zero_grad()
        (bce(judge(real), ones) + bce(judge(fake.detach()), zeros)).backward()
        optimizer_j.step()
        optimizer_g.zero_grad()
        bce(judge(fake), ones).backward()
        optimizer_g.step()
    print(epoch, generator.bias.norm().item())
