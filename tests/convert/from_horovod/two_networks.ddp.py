import sys

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def average_over_workers(tensor):
    """Average a tensor over the workers; integers lose their fraction."""
    total = tensor.detach().clone()
    dist.all_reduce(total)
    return torch.div(total, dist.get_world_size(), rounding_mode=None if total.is_floating_point() else "trunc")


dist.init_process_group()
torch.manual_seed(1)
x = torch.randn(64, 3).chunk(dist.get_world_size())[dist.get_rank()]


class Trainer:
    def __init__(self):
        # The head has a network and an optimizer of its own.
        self.body, self.head = nn.Linear(3, 5), nn.Linear(5, 1)
        self.body = DistributedDataParallel(self.body)
        self.head = DistributedDataParallel(self.head)
        body_optimizer = torch.optim.SGD(self.body.parameters(), lr=0.1)
        head_optimizer = torch.optim.Adam(self.head.parameters(), lr=0.01)
        self.optimizers = [
            body_optimizer,
            head_optimizer,
        ]

    def step(self):
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        loss = self.head(torch.tanh(self.body(x))).sub(x.sum(1, keepdim=True)).square().mean()
        loss.backward()
        for optimizer in self.optimizers:
            optimizer.step()
        return loss


trainer = Trainer()
for step in range(10):
    loss = trainer.step()
print(average_over_workers(loss).item())
if dist.get_rank() == 0:
    weights = {"body": trainer.body.module.state_dict(), "head": trainer.head.module.state_dict()}
    torch.save({f"{name}.{key}": value for name, one in weights.items() for key, value in one.items()}, sys.argv[1])
dist.barrier()
dist.destroy_process_group()
