"""Draw digits that nobody wrote: a small DCGAN on scikit-learn's digits, on one device.

python dcgan.py             # 100 epochs
python dcgan.py --quick     # 8 epochs, for a first look
"""

import argparse

import hora.torch as hvd
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Generator(nn.Module):
    """A vector of noise to an image of 8 by 8 pixels."""

    def __init__(self, latent, width):
        super().__init__()
        self.layers = nn.Sequential(
            nn.ConvTranspose2d(latent, 2 * width, 2, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.ConvTranspose2d(width, 1, 4, stride=2, padding=1),
            nn.Tanh(),
        )

    def forward(self, noise):
        return self.layers(noise[:, :, None, None])


class Discriminator(nn.Module):
    """An image to the logit of its being real."""

    def __init__(self, width):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 1, 2),
        )

    def forward(self, images):
        return self.layers(images).flatten()


def train(generator, discriminator, loader, optimizer_g, optimizer_d, latent, device):
    """Train both for one epoch; returns their mean losses."""
    criterion = nn.BCEWithLogitsLoss()
    total_d, total_g = 0.0, 0.0
    for (real,) in loader:
        real = real.to(device)
        ones, zeros = torch.ones(len(real), device=device), torch.zeros(len(real), device=device)
        batch_samples = hvd.allreduce(len(real) * bool(loader.weight), op=hvd.Sum)
        first = loader.first
        noise = hvd.broadcast(torch.randn(batch_samples, latent, device=device), root_rank=0)[first : first + len(real)]
        fake = generator(noise)

        optimizer_d.zero_grad()
        loss_d = criterion(discriminator(real), ones) + criterion(discriminator(fake.detach()), zeros)
        (loss_d * loader.weight).backward()
        optimizer_d.step()

        optimizer_g.zero_grad()
        loss_g = criterion(discriminator(fake), ones)
        (loss_g * loader.weight).backward()
        optimizer_g.step()

        total_d += loss_d.item() * len(real) * bool(loader.weight)
        total_g += loss_g.item() * len(real) * bool(loader.weight)
    total_d = hvd.allreduce(total_d, op=hvd.Sum)
    total_g = hvd.allreduce(total_g, op=hvd.Sum)
    return total_d / len(loader.dataset), total_g / len(loader.dataset)


@torch.no_grad()
def draw(generator, noise):
    """Print what the generator makes of some vectors, side by side."""
    generator.eval()
    shades = " .:-=+*#%@"
    images = (generator(noise).squeeze(1) + 1) / 2 * (len(shades) - 1)
    for row in images.round().long().transpose(0, 1).tolist():
        if hvd.rank() == 0:
            print("  ".join("".join(2 * shades[pixel] for pixel in line) for line in row))
    generator.train()


def main():
    hvd.init()
    if torch.cuda.is_available():
        torch.cuda.set_device(hvd.local_rank())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--latent", type=int, default=32, help="numbers that an image is made of")
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--lr", type=float, default=2e-4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--checkpoint", default="dcgan.pt", help="where both networks go")
    parser.add_argument("--quick", action="store_true", help="8 epochs")
    args = parser.parse_args()
    if args.quick:
        args.epochs = 8

    torch.manual_seed(args.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    images = torch.tensor(load_digits().images, dtype=torch.float32).unsqueeze(1) / 8 - 1
    loader = DataLoader(TensorDataset(images), batch_size=args.batch_size, shuffle=True)
    loader = hvd.deal(loader)
    generator = Generator(args.latent, args.width).to(device)
    discriminator = Discriminator(args.width).to(device)
    optimizer_g = torch.optim.Adam(generator.parameters(), lr=args.lr, betas=(0.5, 0.999))
    optimizer_g = hvd.DistributedOptimizer(optimizer_g)
    optimizer_d = torch.optim.Adam(discriminator.parameters(), lr=args.lr, betas=(0.5, 0.999))
    optimizer_d = hvd.DistributedOptimizer(optimizer_d)
    hvd.broadcast_parameters(generator.state_dict(), root_rank=0)
    hvd.broadcast_parameters(discriminator.state_dict(), root_rank=0)
    hvd.broadcast_optimizer_state(optimizer_g, root_rank=0)
    hvd.broadcast_optimizer_state(optimizer_d, root_rank=0)
    samples = torch.randn(6, args.latent, device=device)

    for epoch in range(1, args.epochs + 1):
        loss_d, loss_g = train(generator, discriminator, loader, optimizer_g, optimizer_d, args.latent, device)
        if hvd.rank() == 0:
            print(f"epoch {epoch}: discriminator loss {loss_d:.4f}, generator loss {loss_g:.4f}")

    draw(generator, samples)
    if hvd.rank() == 0:
        torch.save({"generator": generator.state_dict(), "discriminator": discriminator.state_dict()}, args.checkpoint)
        print(f"saved {args.checkpoint}")


if __name__ == "__main__":
    main()
