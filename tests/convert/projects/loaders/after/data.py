import hora.torch as hvd
import torch
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
images = torch.randn(100, 8)
labels = (images.sum(1) > 0).long()
train_loader = DataLoader(TensorDataset(images[:80], labels[:80]), batch_size=16, shuffle=True)
train_loader = hvd.deal(train_loader)
test_loader = DataLoader(TensorDataset(images[80:], labels[80:]), batch_size=16)
test_loader = hvd.deal(test_loader, evaluation=True)
