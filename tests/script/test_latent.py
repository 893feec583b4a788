"""Noise for a batch is the samples' own: the same whoever draws it, for a slice or for the whole, in any order."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from hora.script.latent import Batch, Draws, TorchDraws
from hora.script.latent_numpy import numpy_draws

WHOLE = (7, 3, 9, 4)


def drawn(own, draw, index=0, whole=WHOLE):
    noted, events = [], []
    draws = Draws(lambda: Batch(0, "Data[10]", 0, index, own, whole), True, events.append, noted.append)
    with TorchDraws(draws), numpy_draws(draws):
        result = draw()
    assert [event.draw for event in events] == list(range(1, 1 + len(events)))
    return result, noted


def test_a_slice_draws_the_rows_of_the_whole():
    for draw in (torch.randn, torch.rand):
        whole, noted = drawn(WHOLE, lambda draw=draw: draw(4, 5))
        assert noted == ["random numbers of the batch, drawn per sample"]
        assert torch.equal(drawn((9, 4), lambda draw=draw: draw(2, 5))[0], whole[2:])
        assert torch.equal(drawn((9, 4), lambda draw=draw: draw(4, 5))[0], whole), "a worker may draw for all"
        assert torch.equal(
            drawn((4, 7, 9, 3), lambda draw=draw: draw(4, 5), whole=(4, 7, 9, 3))[0], whole[[3, 0, 2, 1]]
        )


def test_each_draw_and_each_batch_has_numbers_of_its_own():
    two, _ = drawn(WHOLE, lambda: torch.stack([torch.randn(4, 3), torch.randn(4, 3)]))
    assert not torch.equal(two[0], two[1])
    assert not torch.equal(two[0], drawn(WHOLE, lambda: torch.randn(4, 3), index=1)[0])


def test_in_place_draws_keep_their_scale():
    rows, _ = drawn(WHOLE, lambda: torch.empty(4, 2000).normal_(3.0, std=0.5))
    assert abs(rows.mean() - 3.0) < 0.05
    assert abs(rows.std() - 0.5) < 0.05
    rows, _ = drawn(WHOLE, lambda: torch.empty(4, 2000).uniform_(-2.0, -1.0))
    assert -2.0 <= rows.min() < rows.max() <= -1.0


def test_whole_numbers_stay_in_their_bounds():
    for draw in (lambda: torch.randint(3, 7, (4, 500)), lambda: torch.randint(low=3, high=7, size=(4, 500))):
        steps, _ = drawn(WHOLE, draw)
        assert steps.dtype == torch.int64
        assert set(steps.flatten().tolist()) == {3, 4, 5, 6}
    whole, _ = drawn(WHOLE, lambda: torch.randint(1000, (4,)))
    assert torch.equal(drawn((9, 4), lambda: torch.randint(0, 1000, (2,)))[0], whole[2:])


def test_chances_are_each_samples_own():
    whole, _ = drawn(WHOLE, lambda: torch.bernoulli(torch.full((4, 2000), 0.3)))
    assert set(whole.flatten().tolist()) == {0.0, 1.0}
    assert abs(whole.mean() - 0.3) < 0.03
    assert torch.equal(drawn((9, 4), lambda: torch.full((2, 2000), 0.3).bernoulli())[0], whole[2:])


def test_draws_with_a_parameter_for_each_entry_keep_their_scale():
    means, scales = torch.tensor([[5.0], [-5.0], [5.0], [-5.0]]), torch.tensor(0.5)
    whole, _ = drawn(WHOLE, lambda: torch.normal(means.expand(4, 2000), scales.expand(4, 2000)))
    assert torch.allclose(whole.mean(1, keepdim=True), means, atol=0.1)
    assert torch.equal(drawn((9, 4), lambda: torch.normal(means[2:].expand(2, 2000), 0.5))[0], whole[2:])
    rows, _ = drawn(WHOLE, lambda: torch.distributions.Normal(means.expand(4, 2000), scales).rsample())
    assert torch.allclose(rows.mean(1, keepdim=True), means, atol=0.1)


def test_what_torch_draws_within_a_function_is_each_samples_own():
    logits = torch.randn(4, 3)
    whole, noted = drawn(WHOLE, lambda: functional.gumbel_softmax(logits, tau=0.5))
    assert noted == ["random numbers of the batch, drawn per sample"]
    assert torch.equal(drawn((9, 4), lambda: functional.gumbel_softmax(logits[2:], tau=0.5))[0], whole[2:])
    rows, _ = drawn(WHOLE, lambda: torch.empty(4, 4000).exponential_(4.0))
    assert abs(rows.mean() - 0.25) < 0.02


def test_the_stream_stays_where_it_was_for_what_is_drawn_for_no_batch():
    def then(rows):
        return torch.randn(rows, 5), np.random.randn(rows, 5), torch.randn(3), np.random.randn(3)

    torch.manual_seed(0), np.random.seed(0)
    *_, expected, also = drawn(WHOLE, lambda: then(4))[0]
    torch.manual_seed(0), np.random.seed(0)
    *_, found, too = drawn((9, 4), lambda: then(2))[0]
    assert torch.equal(expected, found)
    assert np.array_equal(also, too)


def test_other_draws_are_left_alone():
    torch.manual_seed(0)
    expected = torch.randn(3, 5), torch.randn(4, generator=torch.Generator().manual_seed(1)), torch.randn(())
    torch.manual_seed(0)
    found, noted = drawn(
        (9, 4),
        lambda: (torch.randn(3, 5), torch.randn(4, generator=torch.Generator().manual_seed(1)), torch.randn(())),
    )
    assert all(map(torch.equal, expected, found))
    assert noted == []


@pytest.mark.parametrize(
    "draw",
    [
        lambda rows: np.random.normal(3, 0.5, (rows, 5)),
        lambda rows: np.random.normal(size=(rows, 5)),
        lambda rows: np.random.randn(rows, 5),
        lambda rows: np.random.randint(1000, size=rows),
        lambda rows: np.random.uniform(-1, 1, [rows, 2]),
        lambda rows: np.random.random((rows, 1)),
    ],
)
def test_numpy_draws_rows_too(draw):
    whole, noted = drawn(WHOLE, lambda: draw(4))
    assert noted == ["random numbers of the batch, drawn per sample"]
    assert np.array_equal(drawn((9, 4), lambda: draw(2))[0], whole[2:])
    assert len(np.unique(whole, axis=0)) == 4


def test_numpy_keeps_what_has_a_parameter_for_each_entry():
    means = np.arange(4.0)
    np.random.seed(0)
    expected = np.random.normal(means, 1.0)
    np.random.seed(0)
    found, noted = drawn(WHOLE, lambda: np.random.normal(means, 1.0))
    assert np.array_equal(expected, found)
    assert noted == []


def test_what_is_drawn_while_samples_are_put_together_is_theirs():
    def collated(samples):
        events = []
        draws = Draws(lambda: None, True, events.append, [].append)
        with TorchDraws(draws):
            outside = torch.randn(len(samples))
            with draws.collating(samples):
                rows = torch.rand(len(samples), 3), torch.bernoulli(torch.full((len(samples), 3), 0.5))
        assert not events, "no step's batch drew"
        return outside, rows

    (first, whole), (second, slices) = collated(WHOLE), collated((9, 4))
    assert not torch.equal(first[2:], second), "nothing else is"
    assert all(torch.equal(own, of_all[2:]) for own, of_all in zip(slices, whole, strict=True))
    assert not torch.equal(*whole)
