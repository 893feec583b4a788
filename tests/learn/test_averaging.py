"""Lesson 2's pieces: the workers played in one process do what the lesson says of them."""

import pytest
from torch import nn

from hora.learn.averaging import apart, averaged, distances_of_starts, dropout_noise, gradient, network, samples

X, Y = samples(24)
MODEL = network()
MEAN = nn.functional.mse_loss


@pytest.mark.parametrize("workers", [2, 3, 4])
def test_averaging_equal_slices_is_the_batch_s_gradient(workers):
    assert apart(averaged(MODEL, MEAN, X, Y, workers), gradient(MODEL, MEAN, X, Y)) < 1e-14


def test_unequal_slices_need_their_weights():
    right = gradient(MODEL, MEAN, X, Y)
    assert apart(averaged(MODEL, MEAN, X, Y, 5), right) > 1e-3
    assert apart(averaged(MODEL, MEAN, X, Y, 5, weighted=True), right) < 1e-14


def test_a_sum_is_too_small_by_the_number_of_workers():
    loss = nn.MSELoss(reduction="sum")
    assert apart(4 * averaged(MODEL, loss, X, Y, 4), gradient(MODEL, loss, X, Y)) < 1e-14


def test_batch_norm_is_another_function_on_slices():
    normalised = network(nn.BatchNorm1d(16))
    right = gradient(normalised, MEAN, X, Y)
    assert apart(averaged(normalised, MEAN, X, Y, 1), right) == 0
    assert apart(averaged(normalised, MEAN, X, Y, 4), right) > 1e-2


def test_workers_with_starts_of_their_own_never_meet():
    apart_ = distances_of_starts([0, 1], steps=10)
    assert apart_[0] > 1
    assert apart_ == pytest.approx([apart_[0]] * 11)
    assert distances_of_starts([0, 0], steps=3) == [0.0] * 4


def test_one_seed_for_all_leaves_more_noise():
    assert dropout_noise(8, same_masks=True) > 1.1 * dropout_noise(8, same_masks=False)
