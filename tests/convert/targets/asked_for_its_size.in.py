"""A loader that is asked for its batch size."""

import argparse

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def train(model, loader, optimizer, device):
    model.train()
    for x, y in loader:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x.to(device)), y.to(device))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


def test(model, loader, device):
    model.eval()
    correct = 0
    with torch.no_grad():
        for x, y in loader:
            correct += (model(x.to(device)).argmax(1) == y.to(device)).sum().item()
    print(f"accuracy {correct / len(loader.dataset):.2%}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch-size", type=int, default=64)
    args = parser.parse_args()
    cuda = torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    train_kwargs = {"batch_size": args.batch_size, "shuffle": True}
    if cuda:
        train_kwargs.update({"num_workers": 1, "pin_memory": True})
    data = TensorDataset(torch.randn(256, 8), torch.randint(4, (256,)))
    train_loader = DataLoader(data, **train_kwargs)
    test_loader = DataLoader(data, batch_size=1000)
    model = nn.Linear(8, 4).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for epoch in range(1, 4):
        train(model, train_loader, optimizer, device)
        test(model, test_loader, device)
    print(train_loader.batch_size)


if __name__ == "__main__":
    main()
