"""Tell articles of clothing apart (Fashion-MNIST) with a wide residual network, on one device.

python fashion_mnist.py                             # WRN-16-4, 30 epochs
python fashion_mnist.py --quick                     # WRN-10-1, 3 epochs of 5000 images, for a first look
python fashion_mnist.py --resume fashion_mnist.pt   # goes on from the last finished epoch

The data are read from Debian's package dataset-fashion-mnist where it is installed, and else downloaded once.
"""

import argparse
import gzip
import hashlib
import http.client
import os
import sys
import urllib.request
import zlib
from pathlib import Path

import hora.torch as hvd
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Subset

URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
DEBIAN = "/usr/share/datasets/fashion-mnist"
# SHA-256 of what is inside: Debian's files hold the same bytes under another gzip header.
CONTENTS = {
    "train-images-idx3-ubyte.gz": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte.gz": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte.gz": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte.gz": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}


def read(name, folder):
    """Return the content of one file of the data, checked; where it is missing it is downloaded into the folder."""
    path = folder / name
    source = path if path.exists() else URL + name
    try:
        packed = path.read_bytes() if path.exists() else urllib.request.urlopen(source, timeout=60).read()
        content = gzip.decompress(packed)
    except (OSError, EOFError, zlib.error, http.client.HTTPException) as error:
        sys.exit(f"{source}: {error}. Put the files of Fashion-MNIST into {folder}, or name their folder by --data")
    if hashlib.sha256(content).hexdigest() != CONTENTS[name]:
        sys.exit(f"{source}: this is not the file of Fashion-MNIST (wrong SHA-256)")
    if not path.exists() and hvd.rank() == 0:
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f"{name}.{os.getpid()}.part"
        part.write_bytes(packed)
        part.replace(path)
    hvd.barrier()
    return content


class FashionMNIST(Dataset):
    """Images of 28 by 28 pixels and their labels, 0 to 9; training images are flipped and shifted at random."""

    def __init__(self, folder, part, augment=False):
        images = np.frombuffer(read(f"{part}-images-idx3-ubyte.gz", folder), np.uint8, offset=16)
        labels = np.frombuffer(read(f"{part}-labels-idx1-ubyte.gz", folder), np.uint8, offset=8)
        self.images = torch.from_numpy(images.copy()).view(-1, 1, 28, 28)
        self.labels = torch.from_numpy(labels.astype(np.int64))
        self.augment = augment

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        image = (self.images[index] / 255 - 0.286) / 0.353
        if self.augment:
            if torch.rand(()) < 0.5:
                image = image.flip(-1)
            top, left = torch.randint(5, (2,)).tolist()
            image = F.pad(image, (2, 2, 2, 2))[:, top : top + 28, left : left + 28]
        return image, self.labels[index]


class Block(nn.Module):
    """Two convolutions, each after batch normalisation, and a way around them."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if inputs != outputs else nn.Identity()

    def forward(self, x):
        y = F.relu(self.bn1(x))
        z = self.conv2(F.relu(self.bn2(self.conv1(y))))
        return z + self.shortcut(y)


class WideResNet(nn.Module):
    """Three groups of blocks, https://arxiv.org/abs/1605.07146."""

    def __init__(self, depth=16, width=4, classes=10):
        super().__init__()
        widths = [16, 16 * width, 32 * width, 64 * width]
        layers = [nn.Conv2d(1, widths[0], 3, padding=1, bias=False)]
        for group in range(3):
            for block in range((depth - 4) // 6):
                inputs = widths[group] if block == 0 else widths[group + 1]
                layers.append(Block(inputs, widths[group + 1], stride=2 if group > 0 and block == 0 else 1))
        self.blocks = nn.Sequential(*layers)
        self.bn = nn.BatchNorm2d(widths[3])
        self.fc = nn.Linear(widths[3], classes)

    def forward(self, x):
        x = F.relu(self.bn(self.blocks(x)))
        return self.fc(x.mean(dim=(2, 3)))


def train(model, loader, optimizer, scheduler, device):
    model.train()
    total = 0.0
    for images, labels in loader:
        images, labels = images.to(device), labels.to(device)
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        (loss * loader.weight).backward()
        optimizer.step()
        scheduler.step()
        total += loss.item() * len(images) * bool(loader.weight)
    total = hvd.allreduce(total, op=hvd.Sum)
    return total / len(loader.dataset)


@torch.no_grad()
def evaluate(model, loader, device):
    model.eval()
    correct = 0
    for images, labels in loader:
        images, labels = images.to(device), labels.to(device)
        correct += (model(images).argmax(dim=1) == labels).sum().item()
    correct = hvd.allreduce(correct, op=hvd.Sum)
    return correct / len(loader.dataset)


def main():
    hvd.init()
    if torch.cuda.is_available():
        torch.cuda.set_device(hvd.local_rank())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--depth", type=int, default=16, help="6n + 4 for n blocks in each group")
    parser.add_argument("--width", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", type=Path, default=DEBIAN if os.path.isdir(DEBIAN) else "data/fashion-mnist")
    parser.add_argument("--images", type=int, default=60000, help="how many of the training images to use")
    parser.add_argument("--loader-workers", type=int, default=2)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--checkpoint", default="fashion_mnist.pt", help="written after each epoch")
    parser.add_argument("--resume", help="a checkpoint to go on from")
    parser.add_argument("--quick", action="store_true", help="WRN-10-1, 3 epochs of 5000 images")
    args = parser.parse_args()
    if args.quick:
        args.depth, args.width, args.epochs, args.images = 10, 1, 3, 5000

    torch.manual_seed(args.seed)
    device = torch.device(args.device)

    train_set = Subset(FashionMNIST(args.data, "train", augment=True), range(args.images))
    test_set = FashionMNIST(args.data, "t10k")
    train_loader = DataLoader(train_set, args.batch_size, shuffle=True, num_workers=args.loader_workers)
    train_loader = hvd.deal(train_loader)
    test_loader = DataLoader(test_set, args.batch_size, num_workers=args.loader_workers)
    test_loader = hvd.deal(test_loader, evaluation=True)

    model = WideResNet(args.depth, args.width).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9, weight_decay=5e-4, nesterov=True)
    optimizer = hvd.DistributedOptimizer(optimizer)
    steps = args.epochs * len(train_loader)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=args.lr, total_steps=steps)
    first, best = 1, 0.0
    if args.resume:
        state = torch.load(args.resume, map_location=device)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        first, best = state["epoch"] + 1, state["best"]
    hvd.broadcast_parameters(model.state_dict(), root_rank=0)
    hvd.broadcast_optimizer_state(optimizer, root_rank=0)

    for epoch in range(first, args.epochs + 1):
        loss = train(model, train_loader, optimizer, scheduler, device)
        accuracy = evaluate(model, test_loader, device)
        best = max(best, accuracy)
        state = {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "scheduler": scheduler.state_dict(),
            "epoch": epoch,
            "best": best,
        }
        if hvd.rank() == 0:
            torch.save(state, args.checkpoint)
            print(f"epoch {epoch}: train loss {loss:.4f}, accuracy {accuracy:.2%}, best {best:.2%}")


if __name__ == "__main__":
    main()
