import argparse

import hora.torch as hvd
import tools.engine as engine
from tools import build


def main():
    hvd.init()
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.1)
    args = parser.parse_args()
    build.seed(1)
    model, optimizer, loader = build.everything(args.lr)
    loader = hvd.deal(loader)
    optimizer = hvd.DistributedOptimizer(optimizer)
    hvd.broadcast_parameters(model.state_dict(), root_rank=0)
    hvd.broadcast_optimizer_state(optimizer, root_rank=0)
    for epoch in range(2):
        loss = engine.train_one_epoch(model, loader, optimizer, epoch)
        if hvd.rank() == 0:
            print(f"{epoch}: {loss:.3f}")
    if hvd.rank() == 0:
        engine.save(model, "model.pt")


if __name__ == "__main__":
    main()
