import hora.torch as hvd
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

hvd.init()
torch.manual_seed(hvd.broadcast_object(torch.initial_seed(), root_rank=0))

data = TensorDataset(torch.randn(100, 8), torch.randint(0, 3, (100,)))
loader = DataLoader(data, batch_size=10, shuffle=True)
loader = hvd.deal(loader)
model = nn.Linear(8, 3)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
optimizer = hvd.DistributedOptimizer(optimizer)
hvd.broadcast_parameters(model.state_dict(), root_rank=0)
hvd.broadcast_optimizer_state(optimizer, root_rank=0)

for x, y in loader:
    optimizer.zero_grad()
    loss = torch.sqrt(hvd.allreduce(F.mse_loss(model(x), F.one_hot(y, 3).float()) * loader.weight))
    loss.backward()
    optimizer.step()
