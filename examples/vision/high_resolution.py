"""Outline cells, living and dead, in large microscope images, four at a time: a small U-Net, on one device.

python high_resolution.py             # 6 epochs on 96 images of 256 by 256 pixels
python high_resolution.py --quick     # 2 epochs on 24 of them, for a first look

Images of this kind are so large that few fit on a device: a batch holds four. Living cells are brighter than dead ones,
and most images show one kind only: what is bright is told from the other images, and BatchNorm is what sees several.
"""

import argparse

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

BACKGROUND, LIVING, DEAD = range(3)
BRIGHTNESS = {LIVING: 0.55, DEAD: 0.35}


class Images(Dataset):
    """Grey images of cells, and the class of each pixel; image `i` of a seed is always the same."""

    def __init__(self, count, side, seed):
        self.count, self.side, self.seed = count, side, seed

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        draw = torch.Generator().manual_seed(self.seed + index)
        y, x = torch.meshgrid(torch.arange(self.side), torch.arange(self.side), indexing="ij")
        image, classes = torch.full((self.side, self.side), 0.2), torch.zeros(self.side, self.side, dtype=torch.long)
        share_living = (0.0, 1.0, 0.5)[int(torch.multinomial(torch.tensor([0.4, 0.4, 0.2]), 1, generator=draw))]
        for _ in range(12):
            kind = LIVING if torch.rand((), generator=draw) < share_living else DEAD
            middle = self.side * torch.rand(2, generator=draw)
            radii = self.side * (0.04 + 0.06 * torch.rand(2, generator=draw))
            cell = ((y - middle[0]) / radii[0]) ** 2 + ((x - middle[1]) / radii[1]) ** 2 < 1
            image[cell], classes[cell] = BRIGHTNESS[kind], kind
        return (image + 0.15 * torch.randn(image.shape, generator=draw)).unsqueeze(0), classes


def block(channels, out):
    """Two convolutions, each normalised over the batch."""
    return nn.Sequential(
        nn.Conv2d(channels, out, 3, padding=1, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU(inplace=True),
        nn.Conv2d(out, out, 3, padding=1, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU(inplace=True),
    )


class UNet(nn.Module):
    """An image to the scores of the classes for each pixel; sides are multiples of 8."""

    def __init__(self, width):
        super().__init__()
        self.stem = nn.Conv2d(1, width, 4, stride=2, padding=1)
        self.fine = block(width, width)
        self.middle = block(width, 2 * width)
        self.coarse = block(2 * width, 4 * width)
        self.join_middle = block(6 * width, 2 * width)
        self.join_fine = block(3 * width, width)
        self.head = nn.ConvTranspose2d(width, len((BACKGROUND, LIVING, DEAD)), 4, stride=2, padding=1)

    def forward(self, images):
        fine = self.fine(self.stem(images))
        middle = self.middle(F.max_pool2d(fine, 2))
        coarse = self.coarse(F.max_pool2d(middle, 2))
        middle = self.join_middle(torch.cat([F.interpolate(coarse, scale_factor=2), middle], dim=1))
        fine = self.join_fine(torch.cat([F.interpolate(middle, scale_factor=2), fine], dim=1))
        return self.head(fine)


@torch.no_grad()
def evaluate(model, loader, device):
    """The mean loss of a pixel, and the share of the cells' pixels whose class is right."""
    model.eval()
    total, right, pixels = 0.0, 0, 0
    for images, classes in loader:
        images, classes = images.to(device), classes.to(device)
        scores = model(images)
        total += F.cross_entropy(scores, classes).item() * len(images)
        right += ((scores.argmax(dim=1) == classes) & (classes != BACKGROUND)).sum().item()
        pixels += (classes != BACKGROUND).sum().item()
    return total / len(loader.dataset), right / pixels


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--images", type=int, default=96, help="to train on")
    parser.add_argument("--side", type=int, default=256, help="of an image, in pixels; a multiple of 8")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--checkpoint", default="high_resolution.pt")
    parser.add_argument("--quick", action="store_true", help="2 epochs on 24 images")
    args = parser.parse_args()
    if args.quick:
        args.epochs, args.images = 2, 24

    torch.manual_seed(args.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    loader = DataLoader(Images(args.images, args.side, seed=0), batch_size=args.batch_size, shuffle=True)
    test_loader = DataLoader(Images(24, args.side, seed=10**6), batch_size=args.batch_size)

    model = UNet(args.width).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.epochs * len(loader))
    for epoch in range(1, args.epochs + 1):
        model.train()
        for images, classes in loader:
            images, classes = images.to(device), classes.to(device)
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), classes)
            loss.backward()
            optimizer.step()
            scheduler.step()
        test_loss, accuracy = evaluate(model, test_loader, device)
        print(f"epoch {epoch}: test loss {test_loss:.4f}, {accuracy:.1%} of the cells' pixels right")

    torch.save(model.state_dict(), args.checkpoint)


if __name__ == "__main__":
    main()
