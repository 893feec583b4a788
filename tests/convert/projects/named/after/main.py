import argparse
import importlib
import os
import sys

import hora.torch as hvd
import torch
from torch.utils.data import DataLoader, TensorDataset

hvd.init()

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.append(os.path.join(HERE, "models"))

parser = argparse.ArgumentParser()
parser.add_argument("--model", default="narrow")
args = parser.parse_args()

torch.manual_seed(0)
module = importlib.import_module(args.model)
network, criterion = module.Network(), module.Loss()
loader = DataLoader(TensorDataset(torch.rand(57, 4), torch.randint(3, (57,))), batch_size=8, shuffle=True)
loader = hvd.deal(loader)
optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
optimizer = hvd.DistributedOptimizer(optimizer)
hvd.broadcast_parameters(network.state_dict(), root_rank=0)
hvd.broadcast_optimizer_state(optimizer, root_rank=0)
for x, y in loader:
    loss = criterion(network(x), y)
    optimizer.zero_grad()
    (loss * loader.weight).backward()
    optimizer.step()
    mean_loss = hvd.allreduce(loss.item() * loader.weight)
    if hvd.rank() == 0:
        print(f"loss {mean_loss}")
