"""Which rows a step trains on."""

import math

import pytest
import torch
from hypothesis import given, strategies as st

from jointrain import InvalidInputError, Task, TensorData
from jointrain.training.sampling import Batch, rows_at_once
from jointrain.training.sampling._batches import RowSampler, StepRows, TensorBatches, mix


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
    tasks = [Task.regression(name) for name in "ab"]
    batches = TensorBatches(data, tasks, 4, torch.Generator())
    for _ in range(5):
        batch = batches.draw(("b",))
        assert batch.tasks == ("b",)
        assert batch.complete == (True,)
        assert torch.equal(batch.data.inputs[:, 0], batch.data.targets["b"])
    assert batches.draw(("a", "b")).complete == (True, False)


def test_rows_of_dictionaries_and_tuples_are_drawn_together():
    x = torch.arange(12.0)
    data = TensorData({"image": x[:, None], "more": (x, x + 1)}, {"a": x})
    batches = TensorBatches(data, [Task.regression("a")], 5, torch.Generator())
    batch = batches.draw(("a",))
    inputs, target = batch.data.inputs, batch.data.targets["a"]
    assert torch.equal(inputs["image"][:, 0], target)
    assert torch.equal(inputs["more"][0], target)
    assert torch.equal(inputs["more"][1], target + 1)


def test_one_pass_shows_the_rows_in_order_and_the_first_batch_draws_nothing(monkeypatch):
    monkeypatch.setattr("jointrain.training.sampling._batches.EVALUATION_ROWS", 4)
    x = torch.arange(10.0)[:, None]
    batches = TensorBatches(
        TensorData(x, {"a": x[:, 0]}), [Task.regression("a")], 3, torch.Generator()
    )
    assert len(batches.first().data) == 1
    parts = list(batches.once())
    assert [len(part.data) for part in parts] == [4, 4, 2]
    assert torch.equal(torch.cat([part.data.inputs for part in parts]), x)


# --- batches of several data sets in one ---------------------------------------------------------


def _batch(inputs, **targets):
    return Batch(TensorData(inputs, targets), tuple(targets), (True,) * len(targets))


def test_a_mixed_batch_marks_the_labels_that_its_parts_lack():
    first = _batch(torch.zeros(2, 3), a=torch.tensor([1.0, 2.0]))
    second = _batch(torch.ones(1, 3), b=torch.tensor([4]), c=torch.tensor([[5.0, 6.0]]))
    whole = mix([first, second])
    assert whole.tasks == ("a", "b", "c")
    assert whole.data.inputs.tolist() == [[0.0] * 3, [0.0] * 3, [1.0] * 3]
    assert whole.data.targets["a"][:2].tolist() == [1.0, 2.0]
    assert whole.data.targets["b"].tolist() == [-100, -100, 4]
    assert whole.data.targets["a"][2:].isnan().all()
    assert whole.data.targets["c"][:2].isnan().all()


def test_small_integers_and_truth_values_keep_a_mark_for_missing_labels():
    whole = mix(
        [
            _batch(torch.zeros(1, 1), a=torch.tensor([True])),
            _batch(torch.zeros(1, 1), b=torch.tensor([200], dtype=torch.uint8)),
        ]
    )
    assert whole.data.targets["a"].tolist() == [1, -100]
    assert whole.data.targets["b"].tolist() == [-100, 200]


def test_nested_inputs_are_mixed_leaf_by_leaf():
    parts = [_batch({"x": (torch.full((2, 1), v), torch.full((2,), v))}, **{n: torch.zeros(2)})
             for n, v in (("a", 1.0), ("b", 2.0))]  # fmt: skip
    inputs = mix(parts).data.inputs
    assert inputs["x"][0][:, 0].tolist() == [1.0, 1.0, 2.0, 2.0]
    assert inputs["x"][1].tolist() == [1.0, 1.0, 2.0, 2.0]


@pytest.mark.parametrize(
    "first, second, words",
    [
        (torch.zeros(2, 3), torch.zeros(2, 4), r"\[2, 3\] and torch.float32 \[2, 4\]"),
        (torch.zeros(2, 3), torch.zeros(2, 3).long(), "float32 .* and torch.int64"),
        ({"image": torch.zeros(2, 3)}, {"text": torch.zeros(2, 3)}, "dict of image and dict of"),
        (torch.zeros(2, 3), (torch.zeros(2, 3),), "Tensor and tuple"),
    ],
)
def test_inputs_that_do_not_go_into_one_batch_are_refused(first, second, words):
    with pytest.raises(InvalidInputError, match=f"do not go into one batch: .*{words}"):
        mix([_batch(first, a=torch.zeros(2)), _batch(second, b=torch.zeros(2))])


@pytest.mark.parametrize(
    "inputs, expected",
    [
        (torch.zeros(3, 5000), 8192),
        ({"numbers": torch.zeros(3, 5000), "user": torch.zeros(3, dtype=torch.long)}, 8192),
        (torch.zeros(3, 1, 1024, 1024), 4),
        ({"picture": torch.zeros(3, 1, 1024, 1024)}, 4),
        (torch.zeros(3, 64, 1024), 64),
        ({"input_ids": torch.ones(3, 512).int(), "mask": torch.ones(3, 512).bool()}, 64),
        (torch.ones(3, 512).long(), 64),
        (torch.ones(3, 2**24).long(), 1),
    ],
)
def test_rows_of_many_numbers_go_through_a_few_at_once(inputs, expected):
    assert rows_at_once(inputs) == expected
