import torch
from torch_geometric.nn import GCNConv

model = torch.nn.Linear(8, 3)
optimizer = torch.optim.Adam(model.parameters())
features, labels = torch.ones(100, 8), torch.ones(100).long()
for epoch in range(100):
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(features), labels).backward()
    optimizer.step()
