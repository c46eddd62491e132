"""Which rows a step trains on."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from jointrain import Task, TensorData
from jointrain.training._batches import Batches, RowSampler, StepRows


@given(st.integers(1, 70), st.integers(1, 80), st.integers(0, 100))
def test_batches_show_every_row_once_in_a_pass(n, batch_size, seed):
    rows = 3 * torch.arange(n)
    sampler = RowSampler(rows, batch_size, torch.Generator().manual_seed(seed))
    for _ in range(2):
        seen = [sampler.draw() for _ in range(math.ceil(n / batch_size))]
        assert sorted(torch.cat(seen).tolist()) == rows.tolist()
        sizes = [len(part) for part in seen]
        assert max(sizes) <= batch_size
        assert max(sizes) - min(sizes) <= 1


def test_the_order_is_drawn_anew_for_each_pass_and_from_the_seed():
    first, second = (RowSampler(torch.arange(64), 32, torch.Generator()) for _ in range(2))
    passes = [torch.cat([first.draw(), first.draw()]) for _ in range(2)]
    assert not torch.equal(*passes)
    assert torch.equal(passes[0], torch.cat([second.draw(), second.draw()]))


def test_tasks_draw_from_the_rows_that_have_a_label_of_one_of_them():
    labelled = {"a": torch.tensor([True, False, False]), "b": torch.tensor([False, False, True])}
    rows = StepRows(labelled, 8, torch.Generator())
    assert rows.sampler(("a",)).rows.tolist() == [0]
    assert rows.sampler(("a", "b")).rows.tolist() == [0, 2]


def test_a_batch_holds_inputs_and_targets_of_the_same_rows():
    x = torch.arange(10.0)[:, None]
    data = TensorData(x, {"a": x[:, 0], "b": x[:, 0].masked_fill(x[:, 0] < 5, math.nan)})
    tasks = {name: Task.regression(name) for name in "ab"}
    batches = Batches([(data, ("a", "b"))], tasks, 4, torch.Generator())
    for _ in range(5):
        (batch,) = batches.draw(["b"])
        assert batch.tasks == ("b",)
        assert batch.complete == (True,)
        assert torch.equal(batch.data.inputs[:, 0], batch.data.targets["b"])
    (both,) = batches.draw(["a", "b"])
    assert both.complete == (True, False)


def test_each_data_set_that_serves_a_task_gives_a_batch():
    tasks = {name: Task.regression(name) for name in "ab"}
    sources = [
        (TensorData(torch.full((3, 1), value), {name: torch.zeros(3)}), (name,))
        for name, value in (("a", 1.0), ("b", 2.0))
    ]
    batches = Batches(sources, tasks, 8, torch.Generator())
    assert [float(batch.data.inputs[0]) for batch in batches.draw(["a", "b"])] == [1.0, 2.0]
    assert [batch.tasks for batch in batches.draw(["b"])] == [("b",)]
