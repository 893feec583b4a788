import sys

import hora.torch
import torch
from torch import nn

hora.torch.init()
torch.manual_seed(1)
x = torch.randn(64, 3).chunk(hora.torch.size())[hora.torch.rank()]


class Trainer:
    def __init__(self):
        # The head has a network and an optimizer of its own.
        self.body, self.head = nn.Linear(3, 5), nn.Linear(5, 1)
        hora.torch.broadcast_parameters(self.body.state_dict(), root_rank=0)
        hora.torch.broadcast_parameters(self.head.state_dict(), root_rank=0)
        body_optimizer = torch.optim.SGD(self.body.parameters(), lr=0.1)
        head_optimizer = torch.optim.Adam(self.head.parameters(), lr=0.01)
        self.optimizers = [
            hora.torch.DistributedOptimizer(body_optimizer, named_parameters=self.body.named_parameters()),
            hora.torch.DistributedOptimizer(head_optimizer, compression=hora.torch.Compression.none),
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
print(hora.torch.allreduce(loss).item())
if hora.torch.rank() == 0:
    weights = {"body": trainer.body.state_dict(), "head": trainer.head.state_dict()}
    torch.save({f"{name}.{key}": value for name, one in weights.items() for key, value in one.items()}, sys.argv[1])
