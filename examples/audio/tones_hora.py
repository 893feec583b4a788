"""Hear what plays, and how high: a small convolutional network on spectrograms of generated tones, on one device.

python tones.py             # 8 epochs
python tones.py --quick     # 2 epochs on a quarter of the tones, for a first look

A class is an instrument (the strengths of its overtones) and an octave. Pitch within the octave, phases, loudness,
beginning and noise are drawn.
"""

import argparse
import math

import hora.torch as hvd
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

RATE = 8000  # samples of sound per second
LENGTH = RATE // 2
OVERTONES = {"flute": (1.0, 0.1), "clarinet": (1.0, 0.0, 0.7, 0.0, 0.5), "violin": (1.0, 0.8, 0.6, 0.5, 0.4)}
OCTAVES = (110.0, 220.0, 440.0, 880.0)  # Hz, where each begins
CLASSES = [(instrument, octave) for instrument in OVERTONES for octave in OCTAVES]


class Tones(Dataset):
    """Tones of half a second, each made when it is asked for, and always the same one."""

    def __init__(self, count, seed, noise):
        self.count, self.seed, self.noise = count, seed, noise

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if index >= self.count:
            raise IndexError(index)
        draw = torch.Generator().manual_seed(self.seed + index)
        label = int(torch.randint(len(CLASSES), (), generator=draw))
        instrument, octave = CLASSES[label]
        pitch = octave * 2 ** torch.rand((), generator=draw)
        time = torch.arange(LENGTH) / RATE
        sound = torch.zeros(LENGTH)
        for number, strength in enumerate(OVERTONES[instrument], 1):
            phase = 2 * math.pi * torch.rand((), generator=draw)
            sound += strength * torch.sin(2 * math.pi * number * pitch * time + phase)
        begin = 0.25 * torch.rand((), generator=draw)
        sound *= (time >= begin) * torch.exp(-4 * (time - begin).clamp(min=0))
        sound *= 0.2 + torch.rand((), generator=draw)
        return sound + self.noise * torch.randn(LENGTH, generator=draw), label


class Listener(nn.Module):
    """Sound to the scores of the classes, by way of the logarithm of its spectrogram."""

    def __init__(self, window=512, width=16):
        super().__init__()
        self.hop = window // 4
        self.register_buffer("window", torch.hann_window(window))
        self.layers = nn.Sequential(
            nn.Conv2d(1, width, 5, stride=2, padding=2),
            nn.GroupNorm(4, width),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 5, stride=2, padding=2),
            nn.GroupNorm(4, 2 * width),
            nn.ReLU(),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1),
            nn.ReLU(),
        )
        self.head = nn.Linear(2 * width * 64, len(CLASSES))

    def forward(self, sound):
        spectrum = torch.stft(sound, len(self.window), self.hop, window=self.window, return_complex=True)
        loudness = torch.log1p(spectrum[:, :256].abs())  # up to the highest frequency, without it
        features = self.layers(loudness.unsqueeze(1))
        return self.head(features.mean(dim=3).flatten(1))


@torch.no_grad()
def evaluate(model, loader, device):
    """How often instrument and octave are right, and how often the instrument."""
    model.eval()
    right, instruments = 0, 0
    for sound, label in loader:
        sound, label = sound.to(device), label.to(device)
        guess = model(sound).argmax(dim=1)
        right += (guess == label).sum().item()
        instruments += (guess // len(OCTAVES) == label // len(OCTAVES)).sum().item()
    right = hvd.allreduce(right, op=hvd.Sum)
    instruments = hvd.allreduce(instruments, op=hvd.Sum)
    return right / len(loader.dataset), instruments / len(loader.dataset)


def main():
    hvd.init()
    if torch.cuda.is_available():
        torch.cuda.set_device(hvd.local_rank())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--tones", type=int, default=2000, help="to train on")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--noise", type=float, default=0.1, help="standard deviation; a loud tone's is about 0.8")
    parser.add_argument("--checkpoint", default="tones.pt")
    parser.add_argument("--quick", action="store_true", help="2 epochs on a quarter of the tones")
    args = parser.parse_args()
    if args.quick:
        args.epochs, args.tones = 2, 500

    torch.manual_seed(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    train_loader = DataLoader(Tones(args.tones, seed=0, noise=args.noise), batch_size=args.batch_size, shuffle=True)
    train_loader = hvd.deal(train_loader)
    test_loader = DataLoader(Tones(args.tones // 5, seed=10**6, noise=args.noise), batch_size=64)
    test_loader = hvd.deal(test_loader, evaluation=True)

    model = Listener().to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=0.01)
    optimizer = hvd.DistributedOptimizer(optimizer)
    hvd.broadcast_parameters(model.state_dict(), root_rank=0)
    hvd.broadcast_optimizer_state(optimizer, root_rank=0)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.epochs * len(train_loader))
    criterion = nn.CrossEntropyLoss(label_smoothing=0.05)
    for epoch in range(1, args.epochs + 1):
        model.train()
        total = 0.0
        for sound, label in train_loader:
            sound, label = sound.to(device), label.to(device)
            optimizer.zero_grad()
            loss = criterion(model(sound), label)
            (loss * train_loader.weight).backward()
            optimizer.step()
            scheduler.step()
            total += loss.item() * len(sound) * bool(train_loader.weight)
        total = hvd.allreduce(total, op=hvd.Sum)
        accuracy, instruments = evaluate(model, test_loader, device)
        mean = total / len(train_loader.dataset)
        if hvd.rank() == 0:
            print(f"epoch {epoch}: train loss {mean:.4f}, accuracy {accuracy:.1%}, of the instrument {instruments:.1%}")

    if hvd.rank() == 0:
        torch.save(model.state_dict(), args.checkpoint)
        print(f"saved {args.checkpoint}")


if __name__ == "__main__":
    main()
