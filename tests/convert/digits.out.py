"""Recognise handwritten digits with a small convolutional network, on one device.

python digits.py             # 10 epochs
python digits.py --quick     # 2 epochs, for a first look
"""

import argparse

import hora.torch as hvd
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


class ConvNet(nn.Module):
    def __init__(self, width=16, classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, 2 * width, 3, padding=1)
        self.fc1 = nn.Linear(2 * width * 4 * 4, 64)
        self.fc2 = nn.Linear(64, classes)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.fc1(x.flatten(1)))
        return self.fc2(x)


def digits():
    """1797 real digits of 8 by 8 pixels, which scikit-learn ships: 1500 to train on, 297 to test on."""
    data = load_digits()
    images = torch.tensor(data.images, dtype=torch.float32).unsqueeze(1) / 16
    labels = torch.tensor(data.target)
    train_index, test_index = train_test_split(range(len(labels)), test_size=297, random_state=0)
    train_set = TensorDataset(images[train_index], labels[train_index])
    test_set = TensorDataset(images[test_index], labels[test_index])
    return train_set, test_set


def train(model, loader, optimizer, device):
    model.train()
    total = 0.0
    for images, labels in loader:
        images, labels = images.to(device), labels.to(device)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        (loss * loader.weight).backward()
        optimizer.step()
        total += loss.item() * len(images) * bool(loader.weight)
    total = hvd.allreduce(total, op=hvd.Sum)
    return total / len(loader.dataset)


@torch.no_grad()
def evaluate(model, loader, device):
    model.eval()
    total, correct = 0.0, 0
    for images, labels in loader:
        images, labels = images.to(device), labels.to(device)
        logits = model(images)
        total += F.cross_entropy(logits, labels, reduction="sum").item()
        correct += (logits.argmax(dim=1) == labels).sum().item()
    total = hvd.allreduce(total, op=hvd.Sum)
    correct = hvd.allreduce(correct, op=hvd.Sum)
    return total / len(loader.dataset), correct / len(loader.dataset)


def main():
    hvd.init()
    if torch.cuda.is_available():
        torch.cuda.set_device(hvd.local_rank())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--momentum", type=float, default=0.9)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--checkpoint", default="digits.pt", help="where the trained weights go")
    parser.add_argument("--quick", action="store_true", help="2 epochs")
    args = parser.parse_args()
    if args.quick:
        args.epochs = 2

    torch.manual_seed(args.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    train_set, test_set = digits()
    train_loader = DataLoader(train_set, batch_size=args.batch_size, shuffle=True)
    train_loader = hvd.deal(train_loader)
    test_loader = DataLoader(test_set, batch_size=256)
    test_loader = hvd.deal(test_loader, evaluation=True)

    model = ConvNet().to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=args.momentum)
    optimizer = hvd.DistributedOptimizer(optimizer)
    hvd.broadcast_parameters(model.state_dict(), root_rank=0)
    hvd.broadcast_optimizer_state(optimizer, root_rank=0)

    for epoch in range(1, args.epochs + 1):
        train_loss = train(model, train_loader, optimizer, device)
        test_loss, accuracy = evaluate(model, test_loader, device)
        if hvd.rank() == 0:
            print(f"epoch {epoch}: train loss {train_loss:.4f}, test loss {test_loss:.4f}, accuracy {accuracy:.1%}")

    if hvd.rank() == 0:
        torch.save(model.state_dict(), args.checkpoint)
        print(f"saved {args.checkpoint}")


if __name__ == "__main__":
    main()
