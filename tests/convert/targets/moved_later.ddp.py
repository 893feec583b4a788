import os
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler


def sum_over_workers(value):
    """Add up a number, a tensor or an array over the workers."""
    total = torch.as_tensor(value, dtype=torch.float64 if isinstance(value, float) else None).clone()
    dist.all_reduce(total)
    if torch.is_tensor(value):
        return total
    return total.numpy() if total.dim() else total.item()


def object_from_worker_0(value):
    """Give every worker the object that worker 0 has."""
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


class Trainer:
    def __init__(self, model, loader, optimizer, device):
        self.model = DistributedDataParallel(model.to(device))
        self.loader = loader
        self.optimizer = optimizer

    def epoch(self):
        total = 0.0
        for x, y in self.loader:
            self.optimizer.zero_grad()
            loss = (self.model(x) - y).square().sum() / 4
            (loss * dist.get_world_size()).backward()
            self.optimizer.step()
            total += loss.item()
        total = sum_over_workers(total)
        if dist.get_rank() == 0:
            print(total / len(self.loader.dataset))


def objects():
    data = TensorDataset(torch.randn(64, 3), torch.randn(64, 1))
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
    return data, model, torch.optim.SGD(model.parameters(), lr=0.01)


def main(device):
    data, model, optimizer = objects()
    sampler = DistributedSampler(data)
    loader = DataLoader(data, batch_size=(2 * 4) // dist.get_world_size(), sampler=sampler)
    trainer = Trainer(model, loader, optimizer, device)
    for epoch in range(3):
        loader.sampler.set_epoch(epoch)
        trainer.epoch()
    if dist.get_rank() == 0:
        torch.save(trainer.model.module, "model.pt")


dist.init_process_group()
if torch.cuda.is_available():
    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
torch.manual_seed(object_from_worker_0(torch.initial_seed()))

main(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
dist.barrier()
dist.destroy_process_group()
