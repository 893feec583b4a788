"""What an optimizer steps is called as its modules call it, the same in each run."""

import torch
from torch import nn

from hora.script.naming import stepping


def names(optimizer):
    return [named.name for named in stepping(optimizer).parameters]


def test_a_module_names_its_own():
    bystander = nn.Sequential(nn.Linear(2, 2))
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    assert names(torch.optim.SGD(model.parameters(), lr=1.0)) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert names(torch.optim.SGD(bystander.parameters(), lr=1.0)) == ["0.weight", "0.bias"]


def test_several_roots_are_told_apart_by_class_and_number():
    head, one, other = nn.Linear(2, 1), nn.Sequential(nn.Linear(2, 2)), nn.Sequential(nn.Linear(2, 2))
    optimizer = torch.optim.SGD([*other.parameters(), *one.parameters(), *head.parameters()], lr=1.0)
    assert names(optimizer) == [
        "Sequential.0.weight",
        "Sequential.0.bias",
        "Sequential2.0.weight",
        "Sequential2.0.bias",
        "Linear.weight",
        "Linear.bias",
    ]


def test_a_wrapper_is_the_root_and_a_raw_tensor_has_its_place():
    class Trainer(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(2, 1, bias=False)

    trainer = Trainer()
    centre = torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.SGD([{"params": trainer.net.parameters()}, {"params": [centre]}], lr=1.0)
    assert names(optimizer) == ["net.weight", "group1.0"]


def test_buffers_and_state_are_named_too():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.9)
    stepped = stepping(optimizer)
    assert [b.name for b in stepped.buffers()] == ["1.running_mean", "1.running_var", "1.num_batches_tracked"]
    assert stepped.state() == ()
    model(torch.ones(2, 2)).sum().backward()
    optimizer.step()
    names = [(s.name, s.layer) for s in stepped.state()]
    assert names[:2] == [
        ("0.weight:momentum_buffer", "0:momentum_buffer"),
        ("0.bias:momentum_buffer", "0:momentum_buffer"),
    ]
