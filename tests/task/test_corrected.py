"""Losses corrected for selection: by hand, and without bias over all ways to be selected."""

import itertools
import math

import pytest
import torch
from torch.nn import functional

from jointrain.errors import InvalidInputError
from jointrain.task import Task, joint_logit


def cross_entropy(p: float, y: float) -> float:
    return -(y * math.log(p) + (1 - y) * math.log(1 - p))


def task(correction):
    return Task.binary("buy", given="click", correction=correction)


# logits of p(buy) = 0.2, p(buy | click) = 0.4, p(click) = 0.5, of an imputed label of 0.3
OUTPUT = torch.tensor([[0.2, 0.4, 0.5, 0.3]]).double().logit()


@pytest.mark.parametrize("clicked, label", [(1, 1), (1, 0), (0, 0)])
def test_the_losses_are_those_of_the_formulas(clicked, label):
    target = torch.tensor([[label, clicked]]).double()
    joint, error = cross_entropy(0.2, label), cross_entropy(0.4, label)
    weighed = task("inverse-propensity").unreduced_loss(OUTPUT[:, :3], target)
    assert weighed.item() == pytest.approx(joint + clicked / 0.5 * error)
    guess = cross_entropy(0.4, 0.3)
    expected = joint + guess + clicked / 0.5 * (error - guess + (error - guess) ** 2)
    assert task("doubly-robust").unreduced_loss(OUTPUT, target).item() == pytest.approx(expected)


@pytest.mark.parametrize("correction", ["inverse-propensity", "doubly-robust"])
def test_the_gradient_is_on_average_that_of_all_rows_being_clicked(correction):
    torch.manual_seed(0)
    rows = 3
    output = torch.randn(rows, 4).double()
    labels = torch.tensor([1.0, 0, 1]).double()  # what would be seen if all were clicked
    propensity = output[:, 2].sigmoid()
    own = output[:, 1].clone().requires_grad_()
    every = functional.binary_cross_entropy_with_logits(own, labels, reduction="sum")
    (wanted,) = torch.autograd.grad(every, own)
    mean = torch.zeros(rows).double()
    for clicks in itertools.product([0.0, 1.0], repeat=rows):
        clicked = torch.tensor(clicks).double()
        chance = torch.where(clicked == 1, propensity, 1 - propensity).prod()
        own = output[:, 1].clone().requires_grad_()
        # the first column has no gradient here: the correction alone is looked at
        columns = torch.stack([output[:, 0], own, output[:, 2], output[:, 3]], 1)
        width = 3 if correction == "inverse-propensity" else 4
        target = torch.stack([labels * clicked, clicked], 1)
        total = task(correction).unreduced_loss(columns[:, :width], target).sum()
        mean += chance * torch.autograd.grad(total, own)[0]
    torch.testing.assert_close(mean, wanted)


def test_of_a_network_without_the_other_task_it_is_the_plain_loss():
    target = torch.tensor([1.0, 0, math.nan])
    plain = Task.binary("buy").loss(torch.zeros(3, 1), target)
    for correction, width in (("inverse-propensity", 1), ("doubly-robust", 2)):
        chained = task(correction)
        assert chained.output_size == width
        assert chained.loss(torch.zeros(3, width), target) == plain
    with pytest.raises(InvalidInputError, match="its target does not say which rows were selected"):
        task("doubly-robust").loss(torch.zeros(3, 4), target)


def test_the_product_of_probabilities_is_exact_at_the_ends():
    first, second = torch.meshgrid(*[torch.linspace(-12, 12, 25).double()] * 2, indexing="ij")
    wanted = first.sigmoid() * second.sigmoid()
    torch.testing.assert_close(joint_logit(first, second).sigmoid(), wanted, rtol=1e-10, atol=0)
    far = joint_logit(torch.tensor(60.0), torch.tensor(-90.0))
    assert far.item() == pytest.approx(-90)
    assert joint_logit(torch.tensor(200.0), torch.tensor(200.0)).isfinite()
