"""Tasks: losses against torch and hand formulas, missing labels, outputs, and bad definitions."""

import math
import warnings

import pytest
import torch
from hypothesis import given, strategies as st
from torch.nn import functional

from jointrain import InvalidInputError, Task

NAN = math.nan


def _absolute(output, target):
    return (output.squeeze(-1) - target).abs()


TASKS = {
    "regression": Task.regression("y"),
    "box": Task.regression("y", size=3),
    "binary": Task.binary("y"),
    "multiclass": Task.multiclass("y", 4),
    "multilabel": Task.multilabel("y", 3),
    "sequence": Task.sequence("y", 4),
    "custom": Task("y", "custom", loss_function=_absolute, size=1),
    "regression with a loss of its own": Task("y", "regression", loss_function=_absolute),
}


def _example(name, n, generator):
    """Return an output and a complete target of the named task, in float64."""
    task = TASKS[name]

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def integers(high, *shape):
        return torch.randint(0, high, shape, generator=generator)

    if name == "sequence":
        return normal(n, 5, 4), integers(4, n, 5)
    output = normal(n, task.output_size)
    if name == "box":
        return output, normal(n, 3)
    if name == "binary":
        return output, integers(2, n).double()
    if name == "multiclass":
        return output, integers(4, n)
    if name == "multilabel":
        return output, integers(2, n, 3).double()
    return output, normal(n)


def _without(target, rows):
    """Return the target with the labels of `rows` missing."""
    target = target.clone()
    target[rows] = NAN if target.is_floating_point() else -100
    return target


def test_losses_equal_their_formulas():
    generator = torch.Generator().manual_seed(1)
    output, target = _example("regression", 6, generator)
    expected = sum((o - t) ** 2 for o, t in zip(output[:, 0], target, strict=True)) / 6
    torch.testing.assert_close(TASKS["regression"].loss(output, target), expected)

    output, target = _example("box", 6, generator)
    torch.testing.assert_close(
        TASKS["box"].loss(output, target), ((output - target) ** 2).sum() / 18
    )

    output, target = _example("binary", 6, generator)
    p = 1 / (1 + (-output[:, 0]).exp())
    expected = -(target * p.log() + (1 - target) * (1 - p).log()).mean()
    torch.testing.assert_close(TASKS["binary"].loss(output, target), expected)

    output, target = _example("multiclass", 6, generator)
    p = output.exp() / output.exp().sum(1, keepdim=True)
    expected = -p[torch.arange(6), target].log().mean()
    torch.testing.assert_close(TASKS["multiclass"].loss(output, target), expected)

    output, target = _example("multilabel", 6, generator)
    expected = functional.binary_cross_entropy(output.sigmoid(), target)
    torch.testing.assert_close(TASKS["multilabel"].loss(output, target), expected)

    output, target = _example("sequence", 6, generator)
    expected = functional.cross_entropy(output.reshape(-1, 4), target.reshape(-1))
    torch.testing.assert_close(TASKS["sequence"].loss(output, target), expected)


@pytest.mark.parametrize("name", TASKS)
@given(n=st.integers(1, 12), seed=st.integers(0, 1000), data=st.data())
def test_rows_without_a_label_change_neither_loss_nor_gradient_nor_metric(name, n, seed, data):
    task = TASKS[name]
    missing = torch.tensor(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    output, target = _example(name, n, torch.Generator().manual_seed(seed))
    masked = _without(target, missing)
    output.requires_grad_()
    assert torch.equal(task.labelled(masked), ~missing)
    loss = task.loss(output, masked)
    (gradient,) = torch.autograd.grad(loss, output)
    assert not gradient[missing].any()
    if missing.all():
        assert loss == 0
    else:
        expected = task.loss(output[~missing], target[~missing], complete=True)
        (expected_gradient,) = torch.autograd.grad(expected, output)
        torch.testing.assert_close(loss, expected)
        torch.testing.assert_close(gradient, expected_gradient)
    prediction = task.predict(output.detach())
    left = task.evaluate(prediction[~missing], target[~missing])
    assert task.evaluate(prediction, masked) == pytest.approx(left, nan_ok=True)


@pytest.mark.parametrize("name", TASKS)
def test_the_promise_of_complete_labels_changes_no_loss(name):
    output, target = _example(name, 7, torch.Generator().manual_seed(2))
    task = TASKS[name]
    torch.testing.assert_close(task.loss(output, target, complete=True), task.loss(output, target))


def test_float_targets_of_classes_mark_missing_labels_with_nan():
    output = torch.randn(4, 4, dtype=torch.float64)
    floats = torch.tensor([0.0, NAN, 3.0, NAN])
    integers = torch.tensor([0, -100, 3, -100])
    task = TASKS["multiclass"]
    torch.testing.assert_close(task.loss(output, floats), task.loss(output, integers))
    expected = functional.cross_entropy(output, integers)
    torch.testing.assert_close(task.loss(output, integers), expected)


def test_sequences_skip_missing_positions():
    task = Task.sequence("tags", 3)
    output = torch.randn(2, 3, 3, dtype=torch.float64)
    integers = torch.tensor([[0, 2, -100], [1, -100, -100]])
    expected = (
        functional.cross_entropy(output[0, :2], torch.tensor([0, 2]))
        + functional.cross_entropy(output[1, :1], torch.tensor([1]))
    ) / 2
    torch.testing.assert_close(task.loss(output, integers), expected)
    floats = integers.double().masked_fill(integers == -100, NAN)
    torch.testing.assert_close(task.loss(output, floats), expected)
    prediction = task.predict(output)
    assert task.evaluate(prediction, floats) == task.evaluate(prediction, integers)


def test_multilabel_rows_average_over_the_labels_they_have():
    task = Task.multilabel("tags", ["a", "b"])
    output = torch.tensor([[0.3, -0.7], [1.2, 0.4]], dtype=torch.float64)
    target = torch.tensor([[1.0, NAN], [0.0, 1.0]])
    per_label = functional.softplus
    expected = (
        per_label(-output[0, 0]) + (per_label(output[1, 0]) + per_label(-output[1, 1])) / 2
    ) / 2
    torch.testing.assert_close(task.loss(output, target), expected)


def test_a_row_of_several_numbers_needs_them_all():
    task = Task.regression("box", size=2)
    target = torch.tensor([[1.0, 2.0], [1.0, NAN], [NAN, NAN]])
    assert task.labelled(target).tolist() == [True, False, False]
    output = torch.zeros(3, 2)
    assert task.loss(output, target) == pytest.approx((1 + 4) / 2)


def test_a_loss_of_its_own_never_sees_a_row_without_a_label():
    def picky(output, target):
        assert not target.isnan().any()
        return _absolute(output, target)

    task = Task("y", "custom", loss_function=picky, size=1)
    output = torch.tensor([[1.0], [2.0], [3.0]], requires_grad=True)
    loss = task.loss(output, torch.tensor([0.0, NAN, 5.0]))
    torch.testing.assert_close(loss.detach(), torch.tensor((1 + 2) / 2))
    nothing = task.loss(output, torch.full((3,), NAN))
    assert nothing == 0
    assert not torch.autograd.grad(nothing, output)[0].any()


def test_rows_that_a_loss_of_its_own_never_sees_for_a_gap_are_told():
    task = Task("y", "custom", loss_function=_absolute, size=2)
    target = torch.tensor([[1, 2], [1, -100], [-100, -100]])
    with pytest.warns(UserWarning, match="1 of 3 rows of task 'y' have a part of their labels"):
        task.check_target(target)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        task.check_target(target[[0, 2]])


@pytest.mark.parametrize("name", ["regression", "binary", "multiclass"])
def test_a_target_of_one_column_equals_a_vector(name):
    task = TASKS[name]
    output, target = _example(name, 8, torch.Generator().manual_seed(3))
    masked = _without(target, torch.tensor([2]))
    torch.testing.assert_close(task.loss(output, masked[:, None]), task.loss(output, masked))
    prediction = task.predict(output)
    assert task.evaluate(prediction, masked[:, None]) == task.evaluate(prediction, masked)


@pytest.mark.parametrize("name", TASKS)
def test_outputs_and_targets_may_be_strided_views(name):
    task = TASKS[name]
    output, target = _example(name, 6, torch.Generator().manual_seed(4))
    expected = task.loss(output, target)
    spread = torch.stack([output, output], -1)[..., 0]
    torch.testing.assert_close(task.loss(spread, torch.stack([target] * 2, -1)[..., 0]), expected)


def test_predictions_are_values_or_probabilities():
    logits = torch.tensor([[0.0], [math.log(3)]])
    torch.testing.assert_close(Task.binary("y").predict(logits), torch.tensor([0.5, 0.75]))
    assert Task.regression("y").predict(logits).tolist() == logits[:, 0].tolist()
    assert Task.regression("y", size=2).predict(torch.ones(3, 2)).shape == (3, 2)
    for task in (Task.multiclass("y", 4), Task.sequence("y", 4)):
        torch.testing.assert_close(
            task.predict(torch.randn(2, 5, 4)).sum(-1), torch.ones(2, 5), msg=task.kind
        )
    assert Task.multilabel("y", 2).predict(torch.zeros(1, 2)).tolist() == [[0.5, 0.5]]
    assert torch.equal(TASKS["custom"].predict(logits), logits)


def test_output_sizes_and_classes():
    assert Task.regression("y", size=3).output_size == 3
    assert Task.binary("y", ["no", "yes"]).output_size == 1
    assert Task.multiclass("y", ["a", "b", "c"]).classes == ("a", "b", "c")
    assert Task.multiclass("y", 3).classes == (0, 1, 2)
    assert Task("y", "multiclass", size=3).classes == (0, 1, 2)
    assert [TASKS[name].has_classes for name in ("binary", "multiclass", "multilabel")] == [
        True, True, False,
    ]  # fmt: skip


def test_the_first_metric_is_primary():
    assert Task.regression("y").primary_metric.name == "RMSE"
    assert Task.binary("y").primary_metric.name == "ROC-AUC"
    assert Task.multiclass("y", 3).primary_metric.name == "accuracy"
    with pytest.raises(InvalidInputError, match="task 'y' has no metrics; give it metrics="):
        _ = TASKS["custom"].primary_metric


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"name": "", "kind": "binary"}, "name must not be empty"),
        (
            {"name": "y", "kind": "regresion"},
            "task 'y' has unknown kind 'regresion'.*did you mean 'regression'",
        ),
        ({"name": "y", "kind": "custom"}, "custom task 'y' needs loss_function= and size="),
        ({"name": "y", "kind": "custom", "loss_function": _absolute}, "needs loss_function= and s"),
        ({"name": "y", "kind": "binary", "classes": (1, 2, 3)}, "must have two classes, got 3"),
        ({"name": "y", "kind": "binary", "classes": ("a", "a")}, "classes of task 'y' must differ"),
        ({"name": "y", "kind": "multiclass"}, "multiclass task 'y' needs its classes"),
        ({"name": "y", "kind": "regression", "classes": (1,)}, "'y' can't have classes"),
        ({"name": "y", "kind": "regression", "size": 0}, "size of task 'y' must be at least 1"),
        (
            {"name": "y", "kind": "multiclass", "classes": (0, 1), "size": 3},
            "multiclass task 'y' has 2 classes but size 3",
        ),
    ],
)
def test_a_task_that_makes_no_sense_is_refused(arguments, message):
    with pytest.raises(InvalidInputError, match=message):
        Task(**arguments)


@pytest.mark.parametrize("name", TASKS)
def test_targets_that_fit_pass_the_check(name):
    _, target = _example(name, 5, torch.Generator().manual_seed(5))
    TASKS[name].check_target(target)
    TASKS[name].check_target(_without(target, torch.tensor([1, 3])))


@pytest.mark.parametrize(
    "name, target, message",
    [
        ("multiclass", [0, 4], r"of task 'y' holds 4, .* class indices from 0 to 3"),
        ("multiclass", [0, -1], r"of task 'y' holds -1, "),
        ("multiclass", [0.0, 1.5], r"of task 'y' holds 1.5, "),
        ("sequence", [[0, 7]], r"of task 'y' holds 7, "),
        ("binary", [0.0, 2.0], r"of task 'y' holds 2, .* from 0 to 1"),
        ("multilabel", [[0.0, 1.0, -1.0]], r"of task 'y' holds -1, "),
        ("regression", [0.0, math.inf], r"of task 'y' holds inf, "),
        ("regression", [[0.0, 1.0]], r"of task 'y' must hold 1 value a row, got shape \(1, 2\)"),
        ("box", [[0.0, 1.0]], r"must hold 3 values a row, got shape \(1, 2\)"),
        ("multilabel", [0.0, 1.0], r"must hold 3 values a row, got shape \(2,\)"),
        ("sequence", [0, 1], r"must be \[n, positions\], got shape \(2,\)"),
    ],
)
def test_targets_that_do_not_fit_are_refused(name, target, message):
    with pytest.raises(InvalidInputError, match=message):
        TASKS[name].check_target(torch.tensor(target))


@pytest.mark.parametrize(
    "function",
    [
        lambda output, target: (output - target).square(),  # [b, 1] - [b] is [b, b]
        lambda output, target: (output[:, 0] - target).square().mean(),
        lambda output, target: (output - target[:, None]).square(),
    ],
)
@pytest.mark.parametrize("missing", [False, True])
def test_a_custom_loss_gives_one_number_per_row(function, missing):
    task = Task("x", "custom", loss_function=function, size=1)
    target = torch.tensor([1.0, 2.0, float("nan") if missing else 3.0])
    with pytest.raises(InvalidInputError, match="must give one loss per row"):
        task.loss(torch.zeros(3, 1), target, complete=not missing)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_targets_of_small_integers_are_what_they_are_as_long(dtype):
    """Torch wraps a number that a type can't hold: as uint8, -100 is 156 and 300 is 44."""
    generator = torch.Generator().manual_seed(0)
    most = torch.iinfo(dtype).max
    values = torch.tensor([0, 1, 44, 99, min(156, most), min(299, most)], dtype=dtype)
    tasks = [Task.regression("y"), Task.count("y"), Task.multiclass("y", 300)]
    tasks.append(Task.ordinal("y", 300))
    for task in tasks:
        task.check_target(values)
        assert task.labelled(values).all(), task.kind
        output = torch.randn(6, task.output_size, generator=generator)
        assert torch.equal(task.loss(output, values), task.loss(output, values.long())), task.kind
    words = values.expand(2, -1)
    task = Task.sequence("y", 300)
    task.check_target(words)
    assert torch.equal(task.rules.present(words), task.rules.present(words.long()))
    longer = task.rules.joined([words, words[:, :4]])
    assert torch.equal(longer, task.rules.joined([words.long(), words[:, :4].long()]).to(longer))
    labels = torch.tensor([[0, 1, 1]], dtype=dtype)
    many = Task.multilabel("y", 3)
    assert torch.equal(many.rules.standard_target(labels), labels.double())


def test_minus_100_is_missing_in_every_type_that_holds_it():
    task = Task.regression("y")
    for dtype in (torch.int8, torch.int16, torch.int32, torch.int64):
        target = torch.tensor([1, -100], dtype=dtype)
        assert task.labelled(target).tolist() == [True, False]
    assert task.labelled(torch.tensor([True, False])).all()


def test_complex_targets_are_refused():
    """Torch would drop what is imaginary."""
    with pytest.raises(InvalidInputError, match="task 'y' holds complex numbers; give their parts"):
        Task.regression("y").check_target(torch.ones(3, dtype=torch.complex64))
