"""Learn what a digit looks like without being told: SimCLR on scikit-learn's digits, on one device.

python contrastive.py             # 15 epochs
python contrastive.py --quick     # 3 epochs, for a first look

Two views of a digit shall lie close to each other, and far from the views of all other digits of the batch: the loss is
no mean over samples, but couples each pair of them.
"""

import argparse
import math

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset


class Views(Dataset):
    """Two views of each image: turned, slanted, stretched and moved a little, darker or lighter, noisy."""

    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.view(self.images[index]), self.view(self.images[index])

    def view(self, image):
        turn, slant, tall, wide, down, across = (2 * torch.rand(6) - 1).tolist()
        turned = [
            [(1 + 0.2 * wide) * math.cos(0.35 * turn), 0.3 * slant - math.sin(0.35 * turn), 0.25 * across],
            [math.sin(0.35 * turn), (1 + 0.2 * tall) * math.cos(0.35 * turn), 0.25 * down],
        ]
        grid = F.affine_grid(torch.tensor([turned], dtype=image.dtype), (1, *image.shape), align_corners=False)
        moved = F.grid_sample(image.unsqueeze(0), grid, align_corners=False).squeeze(0)
        return moved * (0.7 + 0.6 * torch.rand(())) + 0.05 * torch.randn(image.shape)


class Encoder(nn.Module):
    """An image to features, and for training from there to a point on a sphere."""

    def __init__(self, width=32, features=64, dimensions=32):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1),
            nn.GroupNorm(4, width),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.GroupNorm(4, 2 * width),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(2 * width * 16, features),
        )
        self.project = nn.Sequential(nn.ReLU(), nn.Linear(features, dimensions))

    def forward(self, images):
        return F.normalize(self.project(self.features(images)), dim=1)


def contrast(first, second, temperature):
    """NT-Xent (Chen et al. 2020): each view has to find its partner among all other views of the batch."""
    points = torch.cat([first, second])
    likeness = points @ points.T / temperature
    likeness.fill_diagonal_(float("-inf"))
    places = torch.arange(len(points), device=points.device)
    return F.cross_entropy(likeness, places.roll(len(first)))


@torch.no_grad()
def nearest(model, known, labels, images, answers):
    """How often the known image with the most similar features has the same label."""
    model.eval()
    known, images = F.normalize(model.features(known), dim=1), F.normalize(model.features(images), dim=1)
    guesses = labels[(images @ known.T).argmax(dim=1)]
    return (guesses == answers).float().mean().item()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--temperature", type=float, default=0.5)
    parser.add_argument("--checkpoint", default="contrastive.pt")
    parser.add_argument("--quick", action="store_true", help="3 epochs")
    args = parser.parse_args()
    if args.quick:
        args.epochs = 3

    torch.manual_seed(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    labels = torch.tensor(digits.target)
    known, test = images[:1500].to(device), images[1500:].to(device)
    known_labels, test_labels = labels[:1500].to(device), labels[1500:].to(device)
    # A batch with fewer digits would be an easier task, and its loss another scale.
    loader = DataLoader(Views(images[:1500]), batch_size=args.batch_size, shuffle=True, drop_last=True)

    model = Encoder().to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    for epoch in range(1, args.epochs + 1):
        model.train()
        for first, second in loader:
            first, second = first.to(device), second.to(device)
            loss = contrast(model(first), model(second), args.temperature)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        accuracy = nearest(model, known, known_labels, test, test_labels)
        print(f"epoch {epoch}: loss {loss.item():.3f}, the nearest neighbour is the same digit in {accuracy:.1%}")

    torch.save(model.state_dict(), args.checkpoint)


if __name__ == "__main__":
    main()
