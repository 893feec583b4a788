import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset


class Lines(Dataset):
    def __len__(self):
        return 100

    def __getitem__(self, index):
        return torch.ones(8), 1


data = Lines()
loader = DataLoader(data, batch_size=10, shuffle=True)
model = nn.Linear(8, 3)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

for x, y in loader:
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
