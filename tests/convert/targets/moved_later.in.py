import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Trainer:
    def __init__(self, model, loader, optimizer, device):
        self.model = model.to(device)
        self.loader = loader
        self.optimizer = optimizer

    def epoch(self):
        total = 0.0
        for x, y in self.loader:
            self.optimizer.zero_grad()
            loss = (self.model(x) - y).square().sum() / 4
            loss.backward()
            self.optimizer.step()
            total += loss.item()
        print(total / len(self.loader.dataset))


def objects():
    data = TensorDataset(torch.randn(64, 3), torch.randn(64, 1))
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
    return data, model, torch.optim.SGD(model.parameters(), lr=0.01)


def main(device):
    data, model, optimizer = objects()
    loader = DataLoader(data, batch_size=2 * 4, shuffle=True)
    trainer = Trainer(model, loader, optimizer, device)
    for epoch in range(3):
        trainer.epoch()
    torch.save(trainer.model, "model.pt")


main(torch.device("cuda:0" if torch.cuda.is_available() else "cpu"))
