"""Ways to share a training among workers, and the bytes that each sends in a step, from the network's sizes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Network:
    """A stack of equal transformer layers, as far as its traffic goes.

    Attributes
    ----------
    layers, width, tokens
        Layers, numbers for each token between layers, tokens of one worker's batch.
    """

    layers: int = 24
    width: int = 1024
    tokens: int = 8192

    @property
    def parameters(self) -> int:
        """Numbers to train: four matrices of attention and two of the block behind it, which is four times as wide."""
        return 12 * self.layers * self.width**2


@dataclass(frozen=True)
class Approach:
    """One way.

    Attributes
    ----------
    name, cuts, sends
        What it is called, what it cuts, what travels.
    bytes_a_step
        What each worker sends in a step.
    kept
        The fraction of the parameters that a worker keeps.
    """

    name: str
    cuts: str
    sends: str
    bytes_a_step: float
    kept: float


def approaches(network: Network, workers: int, *, number_bytes: int = 4, local_steps: int = 16) -> tuple[Approach, ...]:
    """Return the ways, with what they send by ring collectives: (N-1)/N of the data for each pass round the ring."""
    once = (workers - 1) / workers
    weights = network.parameters * number_bytes
    between = network.tokens * network.width * number_bytes
    return (
        Approach("data parallel", "the batch", "gradients: one all-reduce", 2 * once * weights, 1.0),
        Approach(
            "sharded (FSDP, ZeRO-3)",
            "the batch; parameters are kept in parts",
            "weights gathered for forward and backward, gradients scattered",
            3 * once * weights,
            1 / workers,
        ),
        Approach(
            "tensor parallel",
            "each matrix",
            "activations: two all-reduces a layer in forward, two in backward",
            4 * network.layers * 2 * once * between,
            1 / workers,
        ),
        Approach(
            "pipeline",
            "the layers, in stages",
            "activations to the next stage, their gradients back",
            2 * between,
            1 / workers,
        ),
        Approach(
            "local SGD",
            "the batch",
            f"weights: one all-reduce in {local_steps} steps",
            2 * once * weights / local_steps,
            1.0,
        ),
    )
