import argparse

import torch
from lib.data import get_loaders
from lib.net import Net
from lib.trainer import Trainer

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=16)
    args = parser.parse_args()
    torch.manual_seed(0)
    train_loader, test_loader = get_loaders(args.batch_size)
    trainer = Trainer(Net(), train_loader, test_loader)
    trainer.fit(args.epochs)
