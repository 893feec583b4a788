"""The private side of torch's autograd engine does what the reducer expects of it, on the torch at hand."""

from __future__ import annotations

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from hora.torch import engine


def hooked(callback):
    linear = torch.nn.Linear(2, 2)
    for parameter in linear.parameters():
        parameter.register_post_accumulate_grad_hook(callback)
    return linear


def test_the_callback_comes_at_the_end_of_backward():
    events = []

    def on_gradient(parameter):
        events.append("gradient")
        engine.at_end_of_backward(lambda: events.append("end"))

    x = torch.ones(1, 2, requires_grad=True)
    hidden = x * 2
    hidden.register_hook(lambda gradient: events.append("input"))
    hooked(on_gradient)(hidden).sum().backward()
    assert events == ["gradient", "gradient", "input", "end", "end"] or events[-2:] == ["end", "end"]


def test_what_the_callback_raises_comes_out_of_backward():
    def on_gradient(parameter):
        engine.at_end_of_backward(fail)

    def fail():
        raise ArithmeticError("from the callback")

    with pytest.raises(ArithmeticError, match="from the callback"):
        hooked(on_gradient)(torch.ones(1, 2)).sum().backward()


def test_every_backward_has_a_number_of_its_own():
    numbers = []
    linear = hooked(lambda parameter: numbers.append(engine.current_backward()))
    for _ in range(2):
        linear(torch.ones(1, 2)).sum().backward()
    first, second = numbers[:2], numbers[2:]
    assert first[0] == first[1] != second[0] == second[1]


def test_a_backward_inside_another_is_told_and_the_outer_one_followed():
    nodes, resumed = [], []

    def on_end():
        node = engine.enclosing_node()
        nodes.append(node)
        if node is not None:
            engine.after_node(node, lambda: resumed.append(engine.current_backward()))

    inside = hooked(lambda parameter: engine.at_end_of_backward(on_end))
    outside = []
    outer = hooked(lambda parameter: outside.append(engine.current_backward()))
    x = outer(torch.ones(1, 2))
    checkpoint(inside, x, use_reentrant=True).sum().backward()
    assert [node is not None for node in nodes] == [True, True]
    assert resumed == [outside[0]] * 2

    nodes.clear()
    inside(x.detach()).sum().backward()
    assert nodes == [None, None]


def test_tensors_in_the_same_memory_are_counted():
    flat = torch.zeros(8)
    view = flat[2:4]
    assert engine.count_aliases(flat) == 2
    detached = view.detach()
    assert engine.count_aliases(flat) == 3
    del detached
    assert engine.count_aliases(flat) == 2
