"""What every kind of task keeps, whichever they are."""

import pickle

import numpy as np
import pytest
import torch

from jointrain import Task
from jointrain.task import DENSE_KINDS, KINDS, TABLE_KINDS
from jointrain.task._regression import Regression
from tests.task.examples import EXAMPLES, TASKS as ALL, outputs_and_target

TASKS = [task for task in ALL if task.kind != "sequence"]
IN_TABLES = [task for task in TASKS if task.kind in TABLE_KINDS and task.name != "box"]
ROWS = 12


def test_every_kind_is_tried_here():
    assert EXAMPLES.keys() == KINDS.keys() - {"custom"} - DENSE_KINDS.keys()


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_the_stacked_loss_and_its_slope_are_those_of_autograd(task):
    if task.rules.stacked_loss is None:
        pytest.skip("it is trained by itself")
    outputs, target = outputs_and_target(task)
    outputs.requires_grad_()
    labelled = task.labelled(target)
    losses = torch.where(labelled, task.unreduced_loss(outputs, target), 0.0)
    (slope,) = torch.autograd.grad(losses.sum(), outputs)
    stacked = task.rules.stacked_loss
    width = 1 if stacked.one_target else task.output_size
    # two tasks side by side, in one network
    values = target.nan_to_num().reshape(1, ROWS, width).repeat(1, 1, 2)
    share = (labelled[:, None] / torch.full((width,), float(width)))[None].repeat(1, 1, 2)
    share = share.double()
    found, slopes = stacked(outputs.detach()[None].repeat(1, 1, 2), values, share, task.output_size)
    half = found[0, :, :width].sum(1)
    torch.testing.assert_close(half, losses.detach())
    torch.testing.assert_close(found[0, :, width:].sum(1), half)
    torch.testing.assert_close(slopes[0, :, : task.output_size], slope)
    torch.testing.assert_close(slopes[0, :, task.output_size :], slope)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_losses_of_columns_are_the_losses(task):
    if not task.rules.can_be_columns():
        pytest.skip("it is computed by itself")
    outputs, target = outputs_and_target(task)
    outputs.requires_grad_()
    found = task.rules.column_losses(outputs[:, None], target[:, None], target.isnan()[:, None])
    expected = torch.where(task.labelled(target), task.unreduced_loss(outputs, target), 0.0)
    torch.testing.assert_close(found[:, 0], expected)
    (slope,) = torch.autograd.grad(found.sum(), outputs)
    (wanted,) = torch.autograd.grad(expected.sum(), outputs)
    torch.testing.assert_close(slope, wanted)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_the_mean_output_has_the_mean_prediction(task):
    generator = torch.Generator().manual_seed(2)
    outputs = 3 * torch.randn(ROWS, 5, task.output_size, generator=generator, dtype=torch.float64)
    each = torch.stack([task.predict(outputs[:, member]) for member in range(5)], 1)
    found = task.predict(task.rules.mean_output(outputs))
    torch.testing.assert_close(found, each.mean(1))


@pytest.mark.parametrize("task", IN_TABLES, ids=lambda task: task.name)
def test_a_constant_without_a_row_is_that_of_the_others(task):
    _, target = outputs_and_target(task)
    labels = target.numpy()
    rows = np.array([0, 3, 5])
    kind = task.in_table
    found = kind.constants_without(labels, rows)
    for row, constant in zip(rows, found, strict=True):
        others = np.delete(labels, row, axis=0)
        np.testing.assert_allclose(constant, kind.constant(others[kind.known(others)]))
    assert kind.from_columns(found).shape == (3, *kind.prediction_shape())
    assert kind.check_constant(found[0]) is None


@pytest.mark.parametrize("task", IN_TABLES, ids=lambda task: task.name)
def test_a_constant_has_the_lowest_loss_of_rows_near_it(task):
    _, target = outputs_and_target(task)
    kind = task.in_table
    labels = target.numpy()[kind.known(target.numpy())]
    best = kind.from_columns(kind.constant(labels)[None])
    # classes are counted once more than they occur, of several labels yes and no
    if task.has_classes:
        labels = np.concatenate([labels, np.arange(len(task.classes))])
    if task.kind == "multilabel":
        labels = np.concatenate([labels, np.ones((1, 3)), np.zeros((1, 3))])
    prediction = np.repeat(best, len(labels), axis=0)
    least = kind.row_losses(prediction, labels).mean()
    for other in (prediction * 1.05, prediction * 0.95):
        if (task.has_classes or task.kind == "proportions") and other.ndim == 2:
            other[:, 0] += 1 - other.sum(1)
        assert kind.row_losses(other, labels).mean() > least - 1e-12


@pytest.mark.parametrize("task", IN_TABLES, ids=lambda task: task.name)
def test_row_losses_and_constants_count_whole_weights_as_repeated_rows(task):
    _, target = outputs_and_target(task)
    kind = task.in_table
    labels = target.numpy()[kind.known(target.numpy())]
    times = np.random.default_rng(0).integers(1, 4, len(labels))
    weighted = kind.constant(labels, times / times.mean())
    expected = kind.constant(np.repeat(labels, times, axis=0))
    if kind.cells in ("classes", "yes or no"):
        # what is counted once more is so in the unit of the rows' mean
        assert weighted.shape == expected.shape
        return
    np.testing.assert_allclose(weighted, expected, rtol=1e-9)


@pytest.mark.parametrize("task", IN_TABLES, ids=lambda task: task.name)
def test_a_row_without_a_label_is_known_as_such(task):
    _, target = outputs_and_target(task)
    labels = target.numpy()
    known = task.in_table.known(labels)
    np.testing.assert_array_equal(known, task.labelled(target).numpy())
    assert labels.shape[1:] == task.in_table.label_shape()
    spread = task.in_table.spread_evenly(labels)
    assert spread.dtype == bool
    assert len(spread) == len(labels)


@pytest.mark.parametrize(
    "task", [t for t in IN_TABLES if t.in_table.blended_by == "probabilities"],
    ids=lambda task: task.name,
)  # fmt: skip
def test_the_evidence_of_one_component_has_its_row_losses(task):
    outputs, target = outputs_and_target(task)
    kind = task.in_table
    known = kind.known(target.numpy())
    labels, prediction = target.numpy()[known], task.predict(outputs).numpy()[known]
    weights = np.random.default_rng(0).lognormal(size=len(labels))
    given, of_rows = kind.evidence(prediction[:, None], labels, weights)
    found = -(of_rows * np.log(given[:, 0])).sum()
    expected = (weights * kind.row_losses(prediction, labels)).sum()
    if task.kind == "proportions":  # without its lowest value
        expected -= (weights * kind.row_losses(labels, labels)).sum()
        shares = np.clip(labels, 1e-300, None)
        expected -= (weights * (labels * np.log(shares)).sum(1)).sum()
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("task", IN_TABLES, ids=lambda task: task.name)
def test_row_losses_rank_as_the_loss_of_networks_does(task):
    if task.kind in ("mean-variance", "negative-binomial", "censored"):
        pytest.skip("its loss is of more than the prediction")
    outputs, target = outputs_and_target(task)
    known = task.in_table.known(target.numpy())
    losses = task.unreduced_loss(outputs, target).numpy()[known]
    prediction, labels = task.predict(outputs).numpy()[known], target.numpy()[known]
    np.testing.assert_allclose(task.in_table.row_losses(prediction, labels), losses, atol=1e-9)


@pytest.mark.parametrize("task", ALL, ids=lambda task: task.name)
def test_a_task_is_a_value(task):
    again = pickle.loads(pickle.dumps(task))
    assert again == task
    assert Task(task.name, task.kind, task.classes, size=task.size) == task


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_the_loss_of_complete_rows_is_the_mean_of_their_losses(task):
    outputs, target = outputs_and_target(task)
    labelled = task.labelled(target)
    outputs, target = outputs[labelled].requires_grad_(), target[labelled]
    expected = task.unreduced_loss(outputs, target).mean()
    found = task.loss(outputs, target, complete=True)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0.0)
    slopes = [torch.autograd.grad(loss, outputs)[0] for loss in (found, expected)]
    torch.testing.assert_close(*slopes, rtol=1e-12, atol=1e-15)


def test_a_kind_of_ones_own_losses_has_their_mean():
    class Absolute(Regression):
        def losses(self, output, target):
            return (output.squeeze(-1) - target).abs()

    output, target = torch.tensor([[1.0], [5.0]]), torch.zeros(2)
    assert float(Absolute(Task.regression("y")).mean_loss(output, target)) == 3.0


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
@pytest.mark.parametrize("far", [100.0, 1e4, 3e20])
def test_no_output_of_a_row_without_a_label_has_a_slope(task, far):
    outputs, target = outputs_and_target(task)
    outputs = outputs.float()
    for sign in (1, -1):
        outputs[3], outputs[7, ..., 0] = sign * far, -sign * far
        leaf = outputs.clone().requires_grad_()
        for weights in (None, torch.ones(len(target))):
            loss = task.loss(leaf, target, weights=weights)
            (slope,) = torch.autograd.grad(loss, leaf)
            assert slope.isfinite().all()
            assert not slope[[3, 7]].any()


@pytest.mark.parametrize("far", [100.0, 1e4, 3e20])
def test_no_output_of_columns_without_a_label_has_a_slope(far):
    for task in TASKS:
        if not task.rules.can_be_columns():
            continue
        outputs, target = outputs_and_target(task)
        target = torch.stack([target, target.flip(0)], 1)
        outputs = torch.stack([outputs, outputs.flip(0)], 1).float()
        missing = target.isnan()
        for sign in (1, -1):
            outputs[missing] = sign * far
            leaf = outputs.clone().requires_grad_()
            losses = task.rules.column_losses(leaf, target, missing)
            assert not losses[missing].any()
            (slope,) = torch.autograd.grad(losses.sum(), leaf)
            assert not slope[missing].any(), task.name


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_no_output_of_a_stacked_row_without_a_label_has_a_slope(task):
    form = task.rules.stacked_loss if hasattr(task.rules, "stacked_loss") else None
    if form is None:
        pytest.skip("is not computed for many networks at once")
    output = torch.full((1, 2, task.output_size), 100.0)
    output[:, 1] = 0.5
    width = 1 if form.one_target else task.output_size
    share = torch.tensor([0.0, 1.0])[None, :, None].expand(1, 2, width)
    losses, slope = form(output, torch.zeros(1, 2, width), share, task.output_size)
    assert not losses[:, 0].any()
    assert not slope[:, 0].any()
