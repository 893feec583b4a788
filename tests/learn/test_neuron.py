"""Lesson 1's pieces: the gradient by hand is autograd's, descent descends, noise falls as it should."""

import pytest
import torch

from hora.learn.batches import gradient_noise, steps_to
from hora.learn.neuron import best, descend, gradient, loss, noisy_line, surface

DATA = noisy_line(32, seed=3)


def test_the_gradient_by_hand_is_autograd_s():
    place = torch.tensor([0.3, -0.7], dtype=torch.float64, requires_grad=True)
    loss(DATA, *place).backward()
    assert torch.allclose(torch.stack(gradient(DATA, *place.detach())), place.grad, rtol=1e-14)


def test_the_surface_holds_the_loss_of_each_pair():
    ws, bs = torch.tensor([0.0, 1.0, 2.0]).double(), torch.tensor([-1.0, 0.5]).double()
    losses = surface(DATA, ws, bs)
    assert losses.shape == (2, 3)
    assert losses[1, 2] == pytest.approx(float(loss(DATA, ws[2], bs[1])))


def test_full_batch_descent_comes_to_the_least_loss():
    path = descend(DATA, rate=0.2, batch=len(DATA), steps=300, start=(-3.0, 3.0))
    assert path.shape == (301, 2)
    assert torch.allclose(path[-1], best(DATA), atol=1e-8)


def test_an_epoch_of_mini_batches_looks_at_each_sample_once():
    # At a tiny rate the steps of an epoch add up to one full-batch step for each batch.
    small = descend(DATA, rate=1e-7, batch=8, steps=4, start=(0.0, 0.0))[-1]
    full = descend(DATA, rate=1e-7, batch=32, steps=4, start=(0.0, 0.0))[-1]
    assert torch.allclose(small, full, rtol=1e-5)


def test_twice_the_batch_is_half_the_noise():
    assert gradient_noise(DATA, (0.0, 0.0), 2) / gradient_noise(DATA, (0.0, 0.0), 16) == pytest.approx(8, rel=0.15)


def test_a_bigger_batch_needs_fewer_steps_up_to_a_point():
    found = steps_to(DATA, [2, 16, 128], [0.4, 0.2, 0.05], excess=0.02)
    small, medium, large = (one.steps for one in found)
    assert small > medium >= large
    assert small / medium > 1.5 * medium / large


def test_a_loss_out_of_reach_is_left_out():
    assert steps_to(DATA, [1], [0.4], excess=1e-9, limit=5) == []
