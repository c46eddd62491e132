"""Steps of rows, against torch's optimisers of a list with a parameter for each row."""

import copy

import pytest
import torch
from torch import nn

from jointrain import OptimizerSettings
from jointrain.training._row_steps import by_row

SETTINGS = [
    OptimizerSettings(learning_rate=0.1, weight_decay=0.3),
    OptimizerSettings(name="adam", learning_rate=0.1, weight_decay=0.3),
    OptimizerSettings(name="sgd", learning_rate=0.1, weight_decay=0.3, momentum=0.9),
    OptimizerSettings(name="sgd", learning_rate=0.1),
]


def gradients():
    random = torch.Generator().manual_seed(1)
    for _ in range(12):
        rows = torch.randperm(6, generator=random)[: int(torch.randint(1, 4, (), generator=random))]
        gradient = torch.zeros(6, 3)
        gradient[rows] = torch.randn(len(rows), 3, generator=random)
        yield rows, gradient


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("settings", SETTINGS, ids=lambda one: f"{one.name} {one.momentum}")
def test_each_row_is_a_parameter_of_its_own(settings, sparse):
    table, dense = nn.Parameter(torch.randn(6, 3)), nn.Parameter(torch.randn(4))
    rows = [nn.Parameter(row.clone()) for row in table.detach()]
    alone = nn.Parameter(dense.detach().clone())
    ours, theirs = by_row(settings([table, dense]), [table]), settings([*rows, alone])
    for chosen, gradient in gradients():
        table.grad = gradient.to_sparse(1) if sparse else gradient
        dense.grad = torch.ones(4)
        for number, row in enumerate(rows):
            row.grad = gradient[number].clone() if number in chosen else None
        alone.grad = torch.ones(4)
        ours.step()
        theirs.step()
        torch.testing.assert_close(table.detach(), torch.stack([*rows]).detach())
        torch.testing.assert_close(dense, alone)


def test_rate_and_decay_of_their_own():
    settings = OptimizerSettings(learning_rate=0.1, weight_decay=0.3)
    table, dense = nn.Parameter(torch.ones(2, 3)), nn.Parameter(torch.ones(4))
    ours = by_row(settings([table, dense]), [table], rate=5.0, decay=0.7)
    other = nn.Parameter(torch.ones(2, 3))
    theirs = OptimizerSettings(learning_rate=0.5, weight_decay=0.7)([other])
    for parameter in (table, dense, other):
        parameter.grad = torch.ones_like(parameter)
    ours.step()
    theirs.step()
    torch.testing.assert_close(table, other)
    torch.testing.assert_close(dense, torch.full((4,), 1 - 0.1 - 0.03))


@pytest.mark.parametrize("settings", SETTINGS[:3], ids=lambda one: one.name)
def test_its_state_goes_on_where_it_was(settings):
    steps = list(gradients())
    table = nn.Parameter(torch.randn(6, 3))
    whole = by_row(settings([table]), [table])
    for number, (_, gradient) in enumerate(steps):
        if number == 5:
            other = nn.Parameter(table.detach().clone())
            resumed = by_row(settings([other]), [other])
            resumed.load_state_dict(copy.deepcopy(whole.state_dict()))
        table.grad = gradient
        whole.step()
        if number >= 5:
            other.grad = gradient
            resumed.step()
    torch.testing.assert_close(other, table)
