import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 3)

    def forward(self, x, y=None):
        scores = self.layer(x)
        loss = None
        if y is not None:
            loss = F.cross_entropy(scores, y, ignore_index=0)
        return scores, loss


@torch.no_grad()
def evaluate(model, loader):
    model.eval()
    losses = []
    for x, y in loader:
        scores, loss = model(x, y)
        losses.append(loss.item())
    model.train()
    return torch.tensor(losses).mean().item()


def main():
    torch.manual_seed(0)
    data = TensorDataset(torch.randn(101, 8), torch.randint(0, 3, (101,)))
    loader = DataLoader(data, batch_size=10, shuffle=True)
    test_loader = DataLoader(data, batch_size=25)
    model = Tagger()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for epoch in range(2):
        for x, y in loader:
            scores, loss = model(x, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            print(f"loss {loss.item():.4f}")
        print(f"epoch {epoch}: {evaluate(model, test_loader):.4f}")


if __name__ == "__main__":
    main()
