import random

import torch
from torch import nn, optim
from torch.utils import data


def seed(number):
    random.seed(number)
    torch.manual_seed(number)


def everything(lr):
    """Make what is trained and what it is trained with."""
    x = torch.randn(50, 6, generator=torch.Generator().manual_seed(9))
    loader = data.DataLoader(data.TensorDataset(x, (x[:, 0] > 0).long()), batch_size=10, shuffle=True)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))
    print("parameters:", sum(p.numel() for p in model.parameters()))
    return model, optim.SGD(model.parameters(), lr=lr, momentum=0.9), loader
