"""Points in a plane, and which side of a circle they are on."""

import torch
from torch.utils.data import DataLoader, TensorDataset


def points(count, seed):
    x = torch.randn(count, 2, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(x, (x.norm(dim=1) > 1.2).long())


def get_loaders(batch_size):
    train = DataLoader(points(200, 1), batch_size=batch_size, shuffle=True)
    test = DataLoader(points(80, 2), batch_size=2 * batch_size)
    return train, test
