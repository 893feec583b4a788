import argparse
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
import models

names = sorted(n for n in models.__dict__ if n.islower() and not n.startswith("__") and callable(models.__dict__[n]))
parser = argparse.ArgumentParser()
parser.add_argument("--arch", default="tiny", choices=names)
args = parser.parse_args()
torch.manual_seed(0)
x = torch.randn(100, 8); y = (x.sum(1) > 0).long()
loader = DataLoader(TensorDataset(x, y), batch_size=16, shuffle=True)
model = models.__dict__[args.arch](num_classes=2)
opt = torch.optim.SGD(model.parameters(), lr=0.1)
for epoch in range(2):
    for xb, yb in loader:
        loss = F.cross_entropy(model(xb), yb)
        opt.zero_grad()
        loss.backward()
        opt.step()
    print(epoch, loss.item())
