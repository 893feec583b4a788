import argparse

import hora.torch as hvd
import torch
from lib.data import get_loaders
from lib.net import Net
from lib.trainer import Trainer

if __name__ == "__main__":
    hvd.init()
    if torch.cuda.is_available():
        torch.cuda.set_device(hvd.local_rank())
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=16)
    args = parser.parse_args()
    torch.manual_seed(0)
    train_loader, test_loader = get_loaders(args.batch_size)
    train_loader = hvd.deal(train_loader)
    test_loader = hvd.deal(test_loader, evaluation=True)
    trainer = Trainer(Net(), train_loader, test_loader)
    hvd.broadcast_parameters(trainer.model.state_dict(), root_rank=0)
    hvd.broadcast_optimizer_state(trainer.optimizer, root_rank=0)
    trainer.fit(args.epochs)
