"""Learn to write like Python's manual: a small transformer over characters, on one device.

python char_lm.py             # 4 layers, 40 epochs
python char_lm.py --quick     # 2 layers, 2 epochs, for a first look

The text is what help() shows on Python's topics; every Python has it.
"""

import argparse
import math
from pydoc_data.topics import topics

import hora.torch as hvd
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset


class Windows(Dataset):
    """Pieces of a text, one after the other, each with the characters that follow its own."""

    def __init__(self, tokens, length):
        self.tokens = tokens
        self.length = length

    def __len__(self):
        return (len(self.tokens) - 1) // self.length

    def __getitem__(self, index):
        window = self.tokens[index * self.length : (index + 1) * self.length + 1]
        return window[:-1], window[1:]


class Block(nn.Module):
    def __init__(self, width, heads, dropout):
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        batch, length, width = x.shape
        qkv = self.qkv(self.norm1(x)).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.dropout(self.out(y.transpose(1, 2).reshape(batch, length, width)))
        return x + self.dropout(self.mlp(self.norm2(x)))


class Transformer(nn.Module):
    def __init__(self, characters, length, width, layers, heads, dropout):
        super().__init__()
        self.length = length
        self.token = nn.Embedding(characters, width)
        self.position = nn.Embedding(length, width)
        self.blocks = nn.Sequential(*[Block(width, heads, dropout) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, characters, bias=False)

    def forward(self, tokens):
        places = torch.arange(tokens.shape[1], device=tokens.device)
        return self.head(self.norm(self.blocks(self.token(tokens) + self.position(places))))

    @torch.no_grad()
    def write(self, tokens, count, generator):
        """Go on after the tokens, one at a time."""
        for _ in range(count):
            logits = self(tokens[:, -self.length :])[:, -1]
            following = torch.multinomial(logits.softmax(dim=-1), 1, generator=generator)
            tokens = torch.cat([tokens, following], dim=1)
        return tokens


def groups(model, weight_decay):
    """Decay the matrices, and leave biases and gains alone."""
    parameters = list(model.parameters())
    return [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]


def cross_entropy(model, inputs, targets):
    return F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())


def train(model, loader, optimizer, scheduler, accumulate, device):
    model.train()
    total = 0.0
    optimizer.zero_grad()
    for number, (inputs, targets) in enumerate(loader, 1):
        inputs, targets = inputs.to(device), targets.to(device)
        loss = cross_entropy(model, inputs, targets)
        (loss / accumulate * loader.weight).backward()
        total += loss.item() * len(inputs) * bool(loader.weight)
        if number % accumulate == 0 or number == len(loader):
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
    total = hvd.allreduce(total, op=hvd.Sum)
    return total / len(loader.dataset)


@torch.no_grad()
def evaluate(model, loader, device):
    model.eval()
    total = 0.0
    for inputs, targets in loader:
        inputs, targets = inputs.to(device), targets.to(device)
        total += cross_entropy(model, inputs, targets).item() * len(inputs)
    total = hvd.allreduce(total, op=hvd.Sum)
    return total / len(loader.dataset)


def main():
    hvd.init()
    if torch.cuda.is_available():
        torch.cuda.set_device(hvd.local_rank())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=16, help="windows that go through the model at once")
    parser.add_argument("--accumulate", type=int, default=4, help="batches whose gradients are added up for a step")
    parser.add_argument("--length", type=int, default=128, help="characters of a window")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--warmup", type=int, default=100, help="steps until the rate is reached")
    parser.add_argument("--weight-decay", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--checkpoint", default="char_lm.pt", help="where the best weights go")
    parser.add_argument("--quick", action="store_true", help="2 layers, 2 epochs")
    args = parser.parse_args()
    if args.quick:
        args.layers, args.width, args.epochs, args.warmup = 2, 64, 2, 10

    torch.manual_seed(args.seed)
    text = "\n".join(topics[name] for name in sorted(topics))
    alphabet = sorted(set(text))
    number_of = {character: number for number, character in enumerate(alphabet)}
    tokens = torch.tensor([number_of[character] for character in text])
    cut = len(tokens) * 9 // 10
    train_loader = DataLoader(Windows(tokens[:cut], args.length), args.batch_size, shuffle=True)
    train_loader = hvd.deal(train_loader)
    test_loader = DataLoader(Windows(tokens[cut:], args.length), 64)
    test_loader = hvd.deal(test_loader, evaluation=True)

    model = Transformer(len(alphabet), args.length, args.width, args.layers, args.heads, args.dropout).to(args.device)
    optimizer = torch.optim.AdamW(groups(model, args.weight_decay), lr=args.lr, betas=(0.9, 0.95))
    optimizer = hvd.DistributedOptimizer(optimizer)
    hvd.broadcast_parameters(model.state_dict(), root_rank=0)
    hvd.broadcast_optimizer_state(optimizer, root_rank=0)
    steps = args.epochs * math.ceil(len(train_loader) / args.accumulate)

    def rate(step):
        """Rise to 1 during the warm-up, then fall to 0 along a cosine."""
        if step < args.warmup:
            return (step + 1) / args.warmup
        return (1 + math.cos(math.pi * (step - args.warmup) / (steps - args.warmup))) / 2

    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    best = math.inf
    if hvd.rank() > 0:
        torch.manual_seed(torch.initial_seed() + hvd.rank())
    for epoch in range(1, args.epochs + 1):
        train_loss = train(model, train_loader, optimizer, scheduler, args.accumulate, args.device)
        test_loss = evaluate(model, test_loader, args.device)
        if hvd.rank() == 0:
            print(f"epoch {epoch}: train loss {train_loss:.4f}, test loss {test_loss:.4f}")
        if test_loss < best:
            best = test_loss
            if hvd.rank() == 0:
                torch.save(model.state_dict(), args.checkpoint)

    start = torch.tensor([[number_of["\n"]]], device=args.device)
    generator = torch.Generator(args.device).manual_seed(args.seed)
    written = model.write(start, 300, generator)[0].tolist()
    if hvd.rank() == 0:
        print("".join(alphabet[token] for token in written))


if __name__ == "__main__":
    main()
