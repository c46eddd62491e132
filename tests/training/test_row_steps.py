"""Steps of rows, against torch's optimisers of a list with a parameter for each row."""

import copy
import pickle

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


def test_options_that_are_given_are_taken_as_they_are():
    settings = OptimizerSettings(learning_rate=0.1, weight_decay=0.3)
    tables = [nn.Parameter(torch.ones(2, 3)) for _ in range(3)]
    dense = nn.Parameter(torch.ones(4))
    options = {
        id(tables[0]): {"lr": 0.2},
        id(tables[1]): {"weight_decay": 0.5},
        id(dense): {"lr": 0.4},
    }
    rows = {id(one) for one in tables}
    ours = settings.of_rows([dense, *tables], rows, options)
    decay, rate = settings.id_decay, 2.5
    expected = [(0.2, decay), (rate * 0.1, 0.5), (rate * 0.1, decay), (0.4, 0.3)]
    for parameter, (lr, weight_decay) in zip([*tables, dense], expected, strict=True):
        alone = nn.Parameter(parameter.detach().clone())
        theirs = torch.optim.AdamW([alone], lr, weight_decay=weight_decay)
        for group in ours.param_groups:
            for one in group["params"]:
                one.grad = None
        parameter.grad, alone.grad = torch.ones_like(parameter), torch.ones_like(alone)
        ours.step()
        theirs.step()
        torch.testing.assert_close(parameter, alone)


def test_an_optimiser_is_copied_and_stored_with_its_rows():
    settings = OptimizerSettings(learning_rate=0.1)
    table = nn.Parameter(torch.ones(3, 2))
    ours = settings.of_rows([table], {id(table)})
    other, third = copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))
    for one in (ours, other, third):
        (weights,) = one.param_groups[-1]["params"]
        weights.grad = torch.tensor([[1.0, 1.0], [0.0, 0.0], [1.0, 2.0]])
        one.step()
        one.load_state_dict(one.state_dict())
        one.step()
        assert torch.equal(weights[1], torch.ones(2))
        assert torch.equal(weights, ours.param_groups[-1]["params"][0])
