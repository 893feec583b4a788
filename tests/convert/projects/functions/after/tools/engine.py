import hora.torch as hvd
import torch
from torch import nn

criterion = nn.CrossEntropyLoss()


def train_one_epoch(model, loader, optimizer, epoch):
    model.train()
    total, seen = 0.0, 0
    for step, (x, y) in enumerate(loader):
        loss = criterion(model(x), y)
        optimizer.zero_grad()
        (loss * loader.weight).backward()
        optimizer.step()
        total += loss.item() * y.size(0) * bool(loader.weight)
        seen += y.size(0) * bool(loader.weight)
        if step % 2 == 0:
            mean_loss = hvd.allreduce(loss.item() * loader.weight)
            if hvd.rank() == 0:
                print(f"epoch {epoch} step {step} loss {mean_loss:.4f}")
    total = hvd.allreduce(total, op=hvd.Sum)
    seen = hvd.allreduce(seen, op=hvd.Sum)
    return total / seen


def save(model, path):
    torch.save(model.state_dict(), path)
    print("saved", path)
