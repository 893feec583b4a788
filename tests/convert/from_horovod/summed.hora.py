import sys

import hora.torch as hvd
import torch

hvd.init()
torch.manual_seed(1)
x = torch.randn(64, 3).chunk(hvd.size())[hvd.rank()]
model = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1))
model_optimizer = hvd.DistributedOptimizer(torch.optim.SGD(model.parameters(), lr=0.1 / hvd.size()), op=hvd.Sum)
hvd.broadcast_parameters(model.named_parameters(), root_rank=0)
for step in range(10):
    model_optimizer.zero_grad()
    loss = model(x).sub(x.sum(1, keepdim=True)).square().mean()
    loss.backward()
    model_optimizer.step()
total = hvd.allreduce(loss.detach(), op=hvd.Sum)
rows = hvd.allgather(loss.detach().view(1))
if hvd.rank() == 0:
    print(f"worker {hvd.local_rank()}:", total.item(), rows.shape)
    torch.save(model.state_dict(), sys.argv[1])
hvd.shutdown()
