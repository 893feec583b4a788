import torch
from torch.nn import functional as F

import hora.torch as hvd

hvd.init()

from data import test_loader, train_loader


def main():
    model = torch.nn.Linear(8, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer = hvd.DistributedOptimizer(optimizer)
    hvd.broadcast_parameters(model.state_dict(), root_rank=0)
    hvd.broadcast_optimizer_state(optimizer, root_rank=0)
    for _ in range(2):
        for images, labels in train_loader:
            optimizer.zero_grad()
            (F.cross_entropy(model(images), labels) * train_loader.weight).backward()
            optimizer.step()
        with torch.no_grad():
            right = sum((model(images).argmax(1) == labels).sum().item() for images, labels in test_loader)
        all_right = hvd.allreduce(right, op=hvd.Sum)
        if hvd.rank() == 0:
            print(all_right / len(test_loader.dataset))


if __name__ == "__main__":
    main()
