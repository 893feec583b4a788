import argparse
import importlib
import os
import sys

import torch
from torch.utils.data import DataLoader, TensorDataset

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.append(os.path.join(HERE, "models"))

parser = argparse.ArgumentParser()
parser.add_argument("--model", default="narrow")
args = parser.parse_args()

torch.manual_seed(0)
module = importlib.import_module(args.model)
network, criterion = module.Network(), module.Loss()
loader = DataLoader(TensorDataset(torch.rand(57, 4), torch.randint(3, (57,))), batch_size=8, shuffle=True)
optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
for x, y in loader:
    loss = criterion(network(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(f"loss {loss.item()}")
