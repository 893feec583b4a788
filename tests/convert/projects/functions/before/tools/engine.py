import torch
from torch import nn

criterion = nn.CrossEntropyLoss()


def train_one_epoch(model, loader, optimizer, epoch):
    model.train()
    total, seen = 0.0, 0
    for step, (x, y) in enumerate(loader):
        loss = criterion(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * y.size(0)
        seen += y.size(0)
        if step % 2 == 0:
            print(f"epoch {epoch} step {step} loss {loss.item():.4f}")
    return total / seen


def save(model, path):
    torch.save(model.state_dict(), path)
    print("saved", path)
