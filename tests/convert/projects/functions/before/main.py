import argparse

import tools.engine as engine
from tools import build


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.1)
    args = parser.parse_args()
    build.seed(1)
    model, optimizer, loader = build.everything(args.lr)
    for epoch in range(2):
        loss = engine.train_one_epoch(model, loader, optimizer, epoch)
        print(f"{epoch}: {loss:.3f}")
    engine.save(model, "model.pt")


if __name__ == "__main__":
    main()
