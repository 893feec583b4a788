"""Exercise 1: a linear neuron's gradient and its descent, by hand. Fill in the two functions."""

import torch


def gradient(x, y, w, b):
    """Return (dL/dw, dL/db) of L = mean((w * x + b - y)**2), without autograd.

    x and y are tensors of shape (samples,), w and b numbers.
    """
    return torch.tensor(0.0), torch.tensor(0.0)


def descend(x, y, w, b, rate, batches):
    """Make one step of gradient descent for each batch, in order, and return the last (w, b).

    Each batch is a tensor of indices into x and y.
    """
    return w, b
