"""Recognise handwritten digits on workers that may come and go.

hora run --min-np 1 --max-np 4 digits_elastic.py
"""

import argparse
import json
import os

import hora.torch as hvd
import torch
from digits import ConvNet, digits
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


@hvd.elastic.run
def train(state, loader, epochs, record):
    while state.epoch < epochs:
        for images, labels, samples in loader:
            state.optimizer.zero_grad()
            loss = F.cross_entropy(state.model(images), labels)
            (loss * loader.weight).backward()
            state.optimizer.step()
            state.step += 1
            record(state, samples if loader.weight else [])
            state.commit()
        state.epoch += 1
        if hvd.rank() == 0:
            print(f"epoch {state.epoch} done at step {state.step} with {hvd.size()} workers", flush=True)


def recorder(directory):
    """Write down which samples each step used; a later generation's word on a step counts."""
    generation = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")

    def record(state, samples):
        if directory is not None:
            line = [int(generation), state.epoch, state.step, [int(sample) for sample in samples]]
            with open(os.path.join(directory, f"{generation}-{hvd.rank()}.jsonl"), "a") as file:
                file.write(json.dumps(line) + "\n")

    return record


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--checkpoint", default="digits_elastic.pt", help="where the trained weights go")
    parser.add_argument("--record", help="a directory for the samples of each step")
    args = parser.parse_args()

    hvd.init()
    torch.manual_seed(args.seed)
    images, labels = digits()[0][:]
    train_set = TensorDataset(images, labels, torch.arange(len(labels)))
    loader = hvd.deal(DataLoader(train_set, batch_size=args.batch_size, shuffle=True))
    model = ConvNet()
    hvd.broadcast_parameters(model, root_rank=0)
    optimizer = hvd.DistributedOptimizer(torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9))
    state = hvd.elastic.TorchState(model, optimizer, epoch=0, step=0)
    train(state, loader, args.epochs, recorder(args.record))
    if hvd.rank() == 0:
        torch.save(model.state_dict(), args.checkpoint)


if __name__ == "__main__":
    main()
