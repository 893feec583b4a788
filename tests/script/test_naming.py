"""What an optimizer steps is called as its modules call it, the same in each run."""

import torch
from torch import nn

from hora.script.naming import named_parameters


def names(optimizer):
    return [named.name for named in named_parameters(optimizer)]


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
