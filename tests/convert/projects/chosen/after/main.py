import argparse
import hora.torch as hvd
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
import models

hvd.init()

names = sorted(n for n in models.__dict__ if n.islower() and not n.startswith("__") and callable(models.__dict__[n]))
parser = argparse.ArgumentParser()
parser.add_argument("--arch", default="tiny", choices=names)
args = parser.parse_args()
torch.manual_seed(0)
x = torch.randn(100, 8); y = (x.sum(1) > 0).long()
loader = DataLoader(TensorDataset(x, y), batch_size=16, shuffle=True)
loader = hvd.deal(loader)
model = models.__dict__[args.arch](num_classes=2)
opt = torch.optim.SGD(model.parameters(), lr=0.1)
opt = hvd.DistributedOptimizer(opt)
hvd.broadcast_parameters(model.state_dict(), root_rank=0)
hvd.broadcast_optimizer_state(opt, root_rank=0)
for epoch in range(2):
    for xb, yb in loader:
        loss = F.cross_entropy(model(xb), yb)
        opt.zero_grad()
        (loss * loader.weight).backward()
        opt.step()
    mean_loss = hvd.allreduce(loss.item() * loader.weight)
    if hvd.rank() == 0:
        print(epoch, mean_loss)
