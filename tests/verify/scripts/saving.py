"""A checkpoint with all that a restart needs, its best result, and a log, a table and a report beside it."""

import argparse
import json
import time

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
inputs = torch.randn(53, 6)
targets = inputs.sum(dim=1, keepdim=True).sin()
loader = DataLoader(TensorDataset(inputs, targets), batch_size=16, shuffle=True)
model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
options = argparse.Namespace(lr=0.01, started=time.time())

best = float("inf")
history = []
for epoch in range(2):
    total = 0.0
    for x, y in loader:
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(x)
    mean = total / len(loader.dataset)
    best = min(best, mean)
    history.append(mean)
    with open("train.log", "a") as log:
        log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} epoch {epoch}: loss {mean:.6f}\n")
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "best": best,
        "options": options,
        "rng": torch.get_rng_state(),
    }
    torch.save(state, "last.pt")
    torch.save(model, "whole.pt")
with open("history.csv", "w") as table:
    table.write("epoch,loss\n")
    table.writelines(f"{epoch},{mean}\n" for epoch, mean in enumerate(history))
with open("report.json", "w") as report:
    json.dump({"best": best, "seconds": time.perf_counter(), "history": history}, report)
with open("picture.raw", "wb") as picture:
    picture.write(b"\x00\x01")
