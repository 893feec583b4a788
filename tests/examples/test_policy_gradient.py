"""Policy gradients: N workers with slices of one fixed set of episodes have the gradient of one worker with all."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch
from pool import Pool
from torch import nn

import hora.torch as hvd

FOLDER = Path(__file__).parents[2] / "examples" / "rl"
EPISODES = 7


def example(name: str) -> ModuleType:
    """Import one of the example's scripts."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def new_policy() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)).double()


def rollout(policy: nn.Module) -> list[torch.Tensor]:
    """Play the episodes that all tests use; they are of unequal length."""
    original = example("policy_gradient")
    states, actions, played = original.play(policy.float(), EPISODES, torch.Generator().manual_seed(0))
    policy.double()
    return [states.double(), actions, played]


def gradients(policy: nn.Module) -> list[torch.Tensor]:
    return [parameter.grad for parameter in policy.parameters() if parameter.grad is not None]


def share() -> list[torch.Tensor]:
    """Return the gradients that a worker's optimizer sees, for this worker's slice of the episodes."""
    policy = new_policy()
    optimizer = hvd.DistributedOptimizer(torch.optim.SGD(policy.parameters(), lr=0.1))
    first, last = EPISODES * hvd.rank() // hvd.size(), EPISODES * (hvd.rank() + 1) // hvd.size()
    states, actions, played = (tensor[:, first:last] for tensor in rollout(policy))
    optimizer.zero_grad()
    (example("policy_gradient_hora").loss_of(policy, states, actions, played) * hvd.size()).backward()
    return gradients(policy)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_slices_of_the_episodes_give_the_gradient_of_all(pool: Pool, size: int) -> None:
    policy = new_policy()
    episodes = rollout(policy)
    assert len(set(episodes[2].sum(dim=0).tolist())) > 1
    example("policy_gradient").loss_of(policy, *episodes).backward()
    for found in pool.run(share, size=size):
        torch.testing.assert_close(found, gradients(policy), rtol=1e-12, atol=1e-14)


def test_a_mean_of_each_worker_s_own_would_be_another_gradient() -> None:
    policy, other = new_policy(), new_policy()
    states, actions, played = rollout(policy)
    loss_of = example("policy_gradient").loss_of
    loss_of(policy, states, actions, played).backward()
    halves = [slice(0, 3), slice(3, EPISODES)]
    sum(loss_of(other, states[:, half], actions[:, half], played[:, half]) / 2 for half in halves).backward()
    pairs = zip(gradients(policy), gradients(other), strict=True)
    assert max((one - two).norm() / one.norm() for one, two in pairs) > 0.01
