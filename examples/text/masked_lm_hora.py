"""Learn to fill in what is missing: a small transformer guesses hidden characters of Python's manual, on one device.

python masked_lm.py             # 10 epochs
python masked_lm.py --quick     # 2 epochs on a twentieth of the text, for a first look

The loss is a mean over the hidden characters. How many there are differs from batch to batch, and from slice to slice.
"""

import argparse
from pydoc_data.topics import topics

import hora.torch as hvd
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

SEEN = -100  # the label of a character that is seen, and not guessed
LENGTH = 64


class Guesser(nn.Module):
    """Sees a window of characters to both sides, and scores every character for every place."""

    def __init__(self, characters, width=32, heads=4, layers=2):
        super().__init__()
        self.token = nn.Embedding(characters, width)
        self.position = nn.Parameter(torch.zeros(LENGTH, width))
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers)
        self.head = nn.Linear(width, characters)

    def forward(self, tokens):
        return self.head(self.encoder(self.token(tokens) + self.position))


def hide(tokens, hidden, share=0.15):
    """Hide some characters of each window: the windows with holes, and what stands in the holes."""
    holes = torch.rand(tokens.shape) < share
    return torch.where(holes, hidden, tokens), torch.where(holes, tokens, SEEN)


def main():
    hvd.init()
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--batch-size", type=int, default=32)
    args = parser.parse_args()
    epochs = args.epochs or (2 if args.quick else 10)

    torch.manual_seed(1)
    text = "\n".join(topics[name] for name in sorted(topics))
    text = text[: len(text) // 20] if args.quick else text
    letters = sorted(set(text))
    codes = {letter: code for code, letter in enumerate(letters)}
    tokens = torch.tensor([codes[letter] for letter in text])
    windows = tokens[: len(tokens) // LENGTH * LENGTH].view(-1, LENGTH)
    shown, missing = hide(windows, len(letters))
    split = len(windows) * 9 // 10
    loader = DataLoader(TensorDataset(shown[:split], missing[:split]), batch_size=args.batch_size, shuffle=True)
    loader = hvd.deal(loader)
    test_loader = DataLoader(TensorDataset(shown[split:], missing[split:]), batch_size=256)
    test_loader = hvd.deal(test_loader, evaluation=True)

    model = Guesser(len(letters) + 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    optimizer = hvd.DistributedOptimizer(optimizer)
    hvd.broadcast_parameters(model.state_dict(), root_rank=0)
    hvd.broadcast_optimizer_state(optimizer, root_rank=0)
    if hvd.rank() > 0:
        torch.manual_seed(torch.initial_seed() + hvd.rank())
    for epoch in range(1, epochs + 1):
        model.train()
        for x, y in loader:
            optimizer.zero_grad()
            scores = model(x).transpose(1, 2)
            loss = F.cross_entropy(scores, y, ignore_index=SEEN, reduction="sum") / loader.total((y != SEEN).sum())
            (loss * hvd.size() * bool(loader.weight)).backward()
            optimizer.step()

        model.eval()
        right, holes = 0, 0
        with torch.no_grad():
            for x, y in test_loader:
                guesses = model(x).argmax(dim=2)
                right += (guesses == y).sum().item()
                holes += (y != SEEN).sum().item()
            right = hvd.allreduce(right, op=hvd.Sum)
            holes = hvd.allreduce(holes, op=hvd.Sum)
        if hvd.rank() == 0:
            print(f"epoch {epoch}: {right / holes:.1%} of the hidden characters guessed")

    if hvd.rank() == 0:
        torch.save(model.state_dict(), "masked_lm.pt")


if __name__ == "__main__":
    main()
