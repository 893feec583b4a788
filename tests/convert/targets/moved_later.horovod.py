import horovod.torch as hvd
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler


def sum_over_workers(value):
    """Add up a number, a tensor or an array over the workers."""
    total = torch.as_tensor(value, dtype=torch.float64 if isinstance(value, float) else None).clone()
    total = hvd.allreduce(total, op=hvd.Sum)
    if torch.is_tensor(value):
        return total
    return total.numpy() if total.dim() else total.item()


class Trainer:
    def __init__(self, model, loader, optimizer, device):
        self.model = model.to(device)
        self.loader = loader
        self.optimizer = optimizer

    def epoch(self):
        total = 0.0
        for x, y in self.loader:
            self.optimizer.zero_grad()
            loss = (self.model(x) - y).square().sum() / 4
            (loss * hvd.size()).backward()
            self.optimizer.step()
            total += loss.item()
        total = sum_over_workers(total)
        if hvd.rank() == 0:
            print(total / len(self.loader.dataset))


def objects():
    data = TensorDataset(torch.randn(64, 3), torch.randn(64, 1))
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
    return data, model, hvd.DistributedOptimizer(torch.optim.SGD(model.parameters(), lr=0.01), named_parameters=model.named_parameters())


def main(device):
    data, model, optimizer = objects()
    sampler = DistributedSampler(data, num_replicas=hvd.size(), rank=hvd.rank())
    loader = DataLoader(data, batch_size=(2 * 4) // hvd.size(), sampler=sampler)
    trainer = Trainer(model, loader, optimizer, device)
    hvd.broadcast_parameters(model.state_dict(), root_rank=0)
    hvd.broadcast_optimizer_state(optimizer, root_rank=0)
    for epoch in range(3):
        loader.sampler.set_epoch(epoch)
        trainer.epoch()
    if hvd.rank() == 0:
        torch.save(trainer.model, "model.pt")


hvd.init()
if torch.cuda.is_available():
    torch.cuda.set_device(hvd.local_rank())
torch.manual_seed(hvd.broadcast_object(torch.initial_seed(), root_rank=0))

main(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
