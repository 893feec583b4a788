"""Noise that workers seeded alike share is seen until a batch without equal slices takes their random states apart."""

from hora.launch.result import RunResult
from hora.script.events import BatchDrew, BatchLoaded, OptimizerStepped, PassPlanned
from hora.verify.agreement import same_noise
from hora.verify.runs import Run

BATCHES = tuple(tuple(range(8 * index, 8 * index + 8)) for index in range(4))


def _run(*digests: list[str], row: int = 16) -> Run:
    """Workers that draw noise with a digest of its own for each of four batches."""
    events = []
    for own in digests:
        seen = [PassPlanned("data", 0, BATCHES, 32, repeats=False)]
        for index, digest in enumerate(own):
            loaded = BatchLoaded("data", 0, index, BATCHES[index])
            seen += [loaded, BatchDrew("data", 0, index, 1, row, digest), OptimizerStepped(index, 0, (0.1,), (), "")]
        events.append(tuple(seen))
    return Run(len(digests), tuple(events), ((),) * len(digests), RunResult((), None, False, None, 0.0))


ONE = _run(["a", "b", "c", "d"])


def test_noise_that_parts_later_is_found():
    difference, code = same_noise(ONE, _run(["p", "q", "r", "s"], ["p", "q", "x", "y"]))
    assert code == "HR503"
    assert "in 2 batches" in difference.detail


def test_noise_that_is_each_workers_own_is_not():
    assert same_noise(ONE, _run(["p", "q", "r", "s"], ["t", "u", "v", "w"])) is None


def test_noise_that_two_of_three_workers_share_is_found():
    """Slices that differ by a sample part one worker from the others at once."""
    difference, _ = same_noise(ONE, _run(["t", "u", "v", "w"], ["p", "q", "r", "s"], ["p", "q", "r", "s"]))
    assert "in 4 batches" in difference.detail


def test_noise_that_only_later_happens_to_be_the_same_is_not():
    assert same_noise(ONE, _run(["p", "q", "r", "s"], ["t", "q", "r", "s"])) is None


def test_a_few_equal_numbers_are_chance():
    few = _run(["a", "b", "c", "d"], row=2)
    assert same_noise(few, _run(["p", "q", "r", "s"], ["p", "q", "x", "y"], row=2)) is None
