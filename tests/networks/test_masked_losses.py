"""Masked losses of many tasks at once equal the tasks' own losses."""

import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor

from jointrain import Task
from jointrain.networks._masked_losses import masked_losses


def collected(tasks: list[Task], outputs: Tensor, targets: dict[str, Tensor]) -> dict[str, Tensor]:
    found = {}
    for names, losses in masked_losses(tasks, outputs, targets):
        assert losses.shape == (len(names),)
        found.update(zip(names, losses, strict=True))
    assert set(found) == {task.name for task in tasks}
    return found


def make(kind: str, count: int, rows: int, share: float, integers: bool, seed: int):
    generator = torch.Generator().manual_seed(seed)
    width = 3 if kind == "multiclass" else 1
    tasks, targets = [], {}
    for i in range(count):
        name = f"{kind}{i}"
        if kind == "regression":
            task, target = Task.regression(name), torch.randn(rows, generator=generator)
        elif kind == "binary":
            task, target = Task.binary(name), torch.randint(2, (rows,), generator=generator)
        else:
            task, target = Task.multiclass(name, 3), torch.randint(3, (rows,), generator=generator)
        missing = torch.rand(rows, generator=generator) < share
        if integers and kind != "regression":
            target = target.masked_fill(missing, -100)
        else:
            target = target.float().masked_fill(missing, torch.nan)
        tasks.append(task)
        targets[name] = target
    return tasks, torch.randn(rows, count, width, generator=generator), targets


@given(
    st.sampled_from(["regression", "binary", "multiclass"]),
    st.integers(1, 5),
    st.integers(1, 6),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.booleans(),
    st.integers(0, 99),
)
def test_they_equal_the_task_s_own_loss_and_its_gradient(kind, count, rows, share, integers, seed):
    tasks, outputs, targets = make(kind, count, rows, share, integers, seed)
    outputs = outputs.double().requires_grad_()
    found = collected(tasks, outputs, targets)
    for i, task in enumerate(tasks):
        expected = task.loss(outputs[:, i], targets[task.name])
        torch.testing.assert_close(found[task.name], expected)
        (ours,) = torch.autograd.grad(found[task.name], outputs, retain_graph=True)
        (theirs,) = torch.autograd.grad(expected, outputs, retain_graph=True)
        torch.testing.assert_close(ours, theirs)
        assert torch.isfinite(ours).all()


def test_tasks_of_several_kinds_and_with_losses_of_their_own_go_side_by_side():
    absolute = Task("own", "regression", loss_function=lambda y, t: (y.squeeze(-1) - t).abs())
    tasks = [Task.regression("r0"), Task.binary("b0"), absolute, Task.regression("r1"),
             Task.binary("b1")]  # fmt: skip
    outputs = torch.randn(5, 5, 1)
    targets = {task.name: torch.tensor([0.0, 1.0, torch.nan, 1.0, 0.0]) for task in tasks}
    targets["b1"] = torch.tensor([0, 1, -100, 1, 0])
    found = collected(tasks, outputs, targets)
    for i, task in enumerate(tasks):
        expected = task.loss(outputs[:, i], targets[task.name])
        torch.testing.assert_close(found[task.name], expected)


@pytest.mark.parametrize("task", [Task.multilabel("m", 3), Task.regression("m", 3)])
def test_targets_of_several_values_are_the_task_s_own_business(task):
    outputs, target = torch.randn(4, 1, 3), torch.rand(4, 3).round()
    target[1, 2] = torch.nan
    found = collected([task], outputs, {"m": target})
    torch.testing.assert_close(found["m"], task.loss(outputs[:, 0], target))


def test_sequences_are_computed_one_by_one():
    tasks = [Task.sequence(f"s{i}", 3) for i in range(2)]
    outputs = torch.randn(4, 6, 2, 3)
    targets = {task.name: torch.randint(3, (4, 6)) for task in tasks}
    found = collected(tasks, outputs, targets)
    for i, task in enumerate(tasks):
        expected = task.loss(outputs[:, :, i], targets[task.name])
        torch.testing.assert_close(found[task.name], expected)


class _Doubled(Task):
    def loss(self, output, target, *, complete=False, weights=None):
        return 2 * super().loss(output, target, complete=complete, weights=weights)


def test_a_task_with_a_loss_method_of_its_own_is_computed_by_it():
    tasks = [_Doubled("a", "regression"), Task.regression("b"), _Doubled("c", "regression")]
    outputs, target = torch.randn(5, 3, 1), torch.randn(5)
    found = {}
    for names, losses in masked_losses(tasks, outputs, dict.fromkeys("abc", target)):
        found |= dict(zip(names, losses, strict=True))
    for index, task in enumerate(tasks):
        torch.testing.assert_close(found[task.name], task.loss(outputs[:, index], target))
