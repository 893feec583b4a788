import os

import hora.torch as hvd
import torch
import torch.nn.functional as F

from .log import say


class Trainer:
    def __init__(self, model, train_loader, test_loader):
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = model.to(self.device)
        self.train_loader = train_loader
        self.test_loader = test_loader
        self.optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
        self.optimizer = hvd.DistributedOptimizer(self.optimizer)
        self.best = 0

    def fit(self, epochs):
        if hvd.rank() == 0:
            os.makedirs("weights")
        for epoch in range(epochs):
            loss = self.train_epoch()
            correct = self.evaluate()
            say(epoch, loss, correct)
            if correct > self.best:
                self.best = correct
                if hvd.rank() == 0:
                    torch.save(self.model.state_dict(), "weights/best.pt")

    def train_epoch(self):
        self.model.train()
        total = 0.0
        for x, y in self.train_loader:
            x, y = x.to(self.device), y.to(self.device)
            loss = F.cross_entropy(self.model(x), y)
            self.optimizer.zero_grad()
            (loss * self.train_loader.weight).backward()
            self.optimizer.step()
            total += loss.item() * len(x) * bool(self.train_loader.weight)
        total = hvd.allreduce(total, op=hvd.Sum)
        return total / len(self.train_loader.dataset)

    @torch.no_grad()
    def evaluate(self):
        self.model.eval()
        correct = 0
        for x, y in self.test_loader:
            prediction = self.model(x.to(self.device)).argmax(dim=1).cpu()
            correct += (prediction == y).sum().item()
        correct = hvd.allreduce(correct, op=hvd.Sum)
        return correct
