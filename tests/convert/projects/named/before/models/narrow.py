import torch
from torch import nn
from torch.nn import functional as F


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 2), nn.Linear(2, 3)
        print("narrow")

    def forward(self, x):
        return self.last(torch.tanh(self.first(x)))


class Loss(nn.Module):
    def forward(self, output, y):
        return F.cross_entropy(output, y)
