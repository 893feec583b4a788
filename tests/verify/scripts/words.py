"""A vocabulary in the order of a set of strings, which is another in each run."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

words = ("the quick brown fox jumps over the lazy dog and runs away " * 6).split()
vocabulary = list(set(words))
index = {word: i for i, word in enumerate(vocabulary)}
ids = torch.tensor([index[word] for word in words])
contexts = torch.stack([ids[i : i + 4] for i in range(len(ids) - 5)])

torch.manual_seed(0)
model = nn.Sequential(nn.Embedding(len(vocabulary), 8), nn.Flatten(), nn.Linear(32, len(vocabulary)))
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
loader = DataLoader(TensorDataset(contexts, ids[4:-1]), batch_size=16, shuffle=True)
for epoch in range(2):
    for context, word in loader:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(context), word)
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch}")
