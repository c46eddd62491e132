"""What tells the data of an experiment from others: a store of runs asks for it."""

import functools

import pytest
import torch
from torch.utils.data import DataLoader, default_collate

from jointrain import InvalidInputError, Mixture, Study, TensorData
from jointrain.data import DataSource
from jointrain.experiments import Experiment, Folds
from jointrain.experiments._rows import RowSet
from jointrain.task import CodeColumns
from tests.experiments._own import TASKS, TWO, Rows, data, network

PLAIN = data(30)
LEFT, RIGHT = PLAIN.inputs, PLAIN.inputs.flip(0)
ROWS = Rows(PLAIN)
NAMED = [
    {"u": LEFT[row], "v": RIGHT[row], "w": torch.tensor(1.0 + row)}
    | {name: target[row] for name, target in PLAIN.targets.items()}
    for row in range(30)
]


def tensors(inputs, **more) -> TensorData:
    return TensorData(inputs, PLAIN.targets, **more)


def named(**more) -> DataSource:
    return DataSource(NAMED, **({"inputs": "u"} | more))


def collated(rows, factor=1.0):
    inputs, *targets = default_collate(rows)
    return factor * inputs, *targets


def collated_anew(rows):
    return default_collate(rows[::-1])


def scaled(factor):
    return functools.partial(collated, factor=factor)


def digest(given) -> str:
    return Experiment(TASKS, network, given, Folds(3)).digest()


@pytest.mark.parametrize(
    "one, other",
    [
        (tensors({"a": LEFT, "b": RIGHT}), tensors({"b": LEFT, "a": RIGHT})),
        (tensors({"a": {"b": LEFT}}), tensors({"a": LEFT})),
        (tensors({"a": LEFT}), tensors(LEFT)),
        (tensors((LEFT, RIGHT)), tensors([LEFT, RIGHT])),
        (tensors((LEFT, (RIGHT, LEFT))), tensors((LEFT, RIGHT, LEFT))),
        (tensors({"a": LEFT, "n": 1}), tensors({"a": LEFT, "n": 2})),
        (tensors(LEFT), tensors(LEFT, codes=(CodeColumns("id", 0, 5),))),
        (named(), named(inputs="v")),
        (named(), named(inputs=["u"])),
        (named(inputs=["u", "v"]), named(inputs=["v", "u"])),
        (named(inputs=["u"]), named(inputs=None)),
        (named(), named(targets={"sum": "w"})),
        (named(), named(weights="w")),
        (named(), named(batch_size=4)),
        (named(batch_size=4), named(batch_size=5)),
        (DataSource(PLAIN), DataSource(PLAIN, batch_size=4)),
        (DataSource(ROWS), DataSource(ROWS, collate_fn=collated)),
        (DataSource(ROWS, collate_fn=collated), DataSource(ROWS, collate_fn=collated_anew)),
        (DataLoader(ROWS, 4), DataLoader(ROWS, 5)),
        (DataLoader(ROWS, 4), DataLoader(ROWS, 4, collate_fn=collated)),
        (
            DataLoader(ROWS, 4, collate_fn=scaled(1.0)),
            DataLoader(ROWS, 4, collate_fn=scaled(2.0)),
        ),
        (DataLoader(ROWS, 4, collate_fn=scaled(1.0)), DataLoader(ROWS, 4, collate_fn=collated)),
        (Mixture({("sum", "sign"): named()}), Mixture({("sum", "sign"): named(inputs="v")})),
        (
            {"sum": named(), "sign": named()},
            {"sum": named(), "sign": named(targets={"sign": "sum"})},
        ),
    ],
)
def test_other_data_or_another_way_to_read_them(one, other):
    assert digest(one) == digest(one)
    assert digest(one) != digest(other)


@pytest.mark.parametrize(
    "one, other",
    [
        (named(), DataSource(list(NAMED), inputs="u")),
        (named(), named(targets={"sum": "sum", "more": "less"})),
        (named(), named(num_workers=2)),
        (PLAIN, DataSource(PLAIN)),
        (ROWS, DataSource(ROWS)),
        (DataLoader(ROWS, 4, collate_fn=scaled(1.0)), DataLoader(ROWS, 4, collate_fn=scaled(1.0))),
        (DataLoader(ROWS, 4, shuffle=True), DataLoader(ROWS, 4)),
    ],
)
def test_what_changes_no_batch_does_not_count(one, other):
    assert digest(one) == digest(other)


def test_hashes_of_one_matrix_and_of_plain_rows_are_those_of_earlier_stores():
    x = torch.arange(6.0).reshape(3, 2)
    rows = DataSource(TensorData(x, {"y": torch.ones(3)}))
    assert (
        RowSet(("y",), rows).digest()
        == "d48c30fa12c5a219e2d1553d43e582fc7df590f0c8b335fd44b6d57e03d6d6fb"
    )
    assert (
        RowSet(("y",), DataSource([1.0, 2.0])).digest()
        == "b617f6fc14d32038ef1f918209135b7c6c0f3fdb550c23931b30af8d059ff7bc"
    )


def test_a_store_refuses_other_data(tmp_path):
    pairs = {
        "names": (tensors({"a": LEFT, "b": RIGHT}), tensors({"b": LEFT, "a": RIGHT})),
        "inputs": (named(), named(inputs="v")),
        "collate": (DataLoader(ROWS, 4), DataLoader(ROWS, 4, collate_fn=scaled(0.0))),
    }
    for name, (one, other) in pairs.items():
        network_of = first_of if name == "names" else network
        studies = [
            Study(Experiment(TASKS, network_of, given, Folds(2)), TWO, seeds=1)
            for given in (one, other)
        ]
        first = studies[0].run(workers=1, store=tmp_path / name)
        assert not first.failed
        with pytest.raises(InvalidInputError, match="another study: data is"):
            studies[1].run(workers=1, store=tmp_path / name)
        assert studies[0].run(workers=1, store=tmp_path / name).table.equals(first.table)


class First(torch.nn.Module):
    """A trunk that reads the input called ``a``."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 8)

    def forward(self, inputs):
        return self.layer(inputs["a"]).relu()


def first_of(tasks):
    made = network(tasks)
    made.trunk = First()
    return made
