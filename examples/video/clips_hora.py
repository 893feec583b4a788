"""Tell movements apart: a small network of 3-D convolutions on generated clips, on one device.

python clips.py             # 8 epochs
python clips.py --quick     # 3 epochs on half of the clips, for a first look

A clip shows a square or a disc that goes left, right, up or down, grows, shrinks, or jumps about. No single frame
tells which: the network has to see time.
"""

import argparse
import math

import hora.torch as hvd
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

MOVEMENTS = ("left", "right", "up", "down", "grows", "shrinks", "jumps")
FRAMES, SIDE = 8, 24


class Clips(Dataset):
    """Grey clips, (1, frames, height, width) each, drawn when they are asked for, and always the same ones."""

    def __init__(self, count, seed):
        self.count, self.seed = count, seed

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if index >= self.count:
            raise IndexError(index)
        draw = torch.Generator().manual_seed(self.seed + index)
        label = index % len(MOVEMENTS)
        movement = MOVEMENTS[label]
        time = torch.arange(FRAMES) - (FRAMES - 1) / 2
        speed = 0.4 + 0.8 * torch.rand((), generator=draw)
        across = time * speed * {"left": -1, "right": 1}.get(movement, 0)
        down = time * speed * {"up": -1, "down": 1}.get(movement, 0)
        grown = time * speed / 2 * {"grows": 1, "shrinks": -1}.get(movement, 0)
        if movement == "jumps":
            across, down = 12 * torch.rand(2, FRAMES, generator=draw) - 6
        middle = SIDE / 2 + 6 * torch.rand(2, generator=draw) - 3
        y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
        away_y = (y - middle[0] - down[:, None, None]).abs()
        away_x = (x - middle[1] - across[:, None, None]).abs()
        disc = torch.rand((), generator=draw) < 0.5
        away = torch.hypot(away_y, away_x) if disc else torch.maximum(away_y, away_x)
        size = 3.5 + torch.rand((), generator=draw)
        clip = (away < size + grown[:, None, None]).float()
        return (clip + 0.7 * torch.randn(clip.shape, generator=draw)).unsqueeze(0), label


class Watcher(nn.Module):
    """Three layers that look at 3 frames of 3 by 3 pixels each, then a mean over what is left of time and place."""

    def __init__(self, width=8):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv3d(1, width, 3, padding=1),
            nn.BatchNorm3d(width),
            nn.ReLU(inplace=True),
            nn.MaxPool3d((1, 2, 2)),
            nn.Conv3d(width, 2 * width, 3, padding=1),
            nn.BatchNorm3d(2 * width),
            nn.ReLU(inplace=True),
            nn.MaxPool3d(2),
            nn.Conv3d(2 * width, 4 * width, 3, padding=1),
            nn.BatchNorm3d(4 * width),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool3d(1),
            nn.Flatten(),
        )
        self.head = nn.Linear(4 * width, len(MOVEMENTS))

    def forward(self, clips):
        return self.head(self.layers(clips))


@torch.no_grad()
def evaluate(model, loader, device):
    """The share of clips whose movement is told right."""
    model.eval()
    right = 0
    for clips, labels in loader:
        clips, labels = clips.to(device), labels.to(device)
        right += (model(clips).argmax(dim=1) == labels).sum().item()
    right = hvd.allreduce(right, op=hvd.Sum)
    return right / len(loader.dataset)


def main():
    hvd.init()
    if torch.cuda.is_available():
        torch.cuda.set_device(hvd.local_rank())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--clips", type=int, default=800, help="to train on")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--checkpoint", default="clips.pt")
    parser.add_argument("--quick", action="store_true", help="3 epochs on half of the clips")
    args = parser.parse_args()
    if args.quick:
        args.epochs, args.clips = 3, 400

    torch.manual_seed(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    train_loader = DataLoader(Clips(args.clips, seed=0), batch_size=args.batch_size, shuffle=True)
    train_loader = hvd.deal(train_loader)
    test_loader = DataLoader(Clips(210, seed=10**6), batch_size=70)
    test_loader = hvd.deal(test_loader, evaluation=True)

    model = Watcher().to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9, nesterov=True, weight_decay=1e-4)
    optimizer = hvd.DistributedOptimizer(optimizer)
    hvd.broadcast_parameters(model.state_dict(), root_rank=0)
    hvd.broadcast_optimizer_state(optimizer, root_rank=0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, math.ceil(args.epochs / 2), gamma=0.2)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(1, args.epochs + 1):
        model.train()
        total = 0.0
        for clips, labels in train_loader:
            clips, labels = clips.to(device), labels.to(device)
            loss = criterion(model(clips), labels)
            optimizer.zero_grad(set_to_none=True)
            (loss * train_loader.weight).backward()
            optimizer.step()
            total += loss.item() * len(clips) * bool(train_loader.weight)
        total = hvd.allreduce(total, op=hvd.Sum)
        scheduler.step()
        accuracy = evaluate(model, test_loader, device)
        mean = total / len(train_loader.dataset)
        if hvd.rank() == 0:
            print(f"epoch {epoch}: train loss {mean:.4f}, accuracy {accuracy:.1%}")

    if hvd.rank() == 0:
        torch.save(model.state_dict(), args.checkpoint)
        print(f"saved {args.checkpoint}")


if __name__ == "__main__":
    main()
