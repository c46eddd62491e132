"""The table of docs/many_ranks.md: each of its cells is a test on two processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch

from jointrain.training import TrainingSettings
from tests.processes import Processes
from tests.training import _rank_table as table

TABLE = Path(__file__).parents[2] / "docs" / "many_ranks.md"
QUICK = [
    ('ema=0.9', "joint"),
    ('non_finite="skip", non_finite_limit=9', "mixture"),
    ("balancer=SDMGRAD", "alternating"),
    ('bad_rows="skip", bad_rows_limit=2', "phases"),
]  # fmt: skip
"""Cells that are tested at each change; the others are with the integration tests."""

UNITS = {"bf16": 2**-8, "fp16": 2**-11}
"""What half types round by."""


def _table() -> list[tuple[str, str, str]]:
    lines = TABLE.read_text().split("## What works with what")[1].splitlines()
    found = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line[:1] == "|"]
    heading, _, *body = found
    assert heading[1:] == list(table.COLUMNS)
    return [
        (row[0].strip("`"), column, cell)
        for row in body
        for column, cell in zip(heading[1:], row[1:], strict=True)
    ]


CELLS = [
    pytest.param(
        row, column, cell, marks=[] if (row, column) in QUICK else [pytest.mark.integration]
    )
    for row, column, cell in _table()
]


@pytest.fixture(scope="module")
def run():
    """Call a function in two processes, which are new ones after a failure."""
    kept = [Processes(2)]

    def run(function: Callable[..., Any], *arguments: Any) -> list[Any]:
        try:
            return kept[0].run(function, *arguments)
        except BaseException:
            kept[0].close()
            kept[0] = Processes(2)
            raise

    yield run
    kept[0].close()


def test_the_table_has_every_option():
    named = {name for row, *_ in _table() for name in table.options_of(row)}
    settings = {one.name for one in fields(TrainingSettings)}
    assert settings - {"batch_size", "epochs"} <= named
    assert {"auxiliary", "weights", "balancer", "callbacks"} <= named


@pytest.mark.parametrize("row, column, cell", CELLS)
def test_a_cell_of_the_table(row, column, cell, run, tmp_path):
    assert cell in ("both", "ddp", "refused")
    one = None
    for strategy in ("ddp", "fsdp"):
        found = run(table.cell, row, column, strategy, str(tmp_path / strategy))
        if cell == "both" or cell == strategy:
            one = one or table.cell(row, column, None, str(tmp_path / "one"))
            for ended in found:
                assert "refused" not in ended, ended
                _assert_same(ended, one, UNITS.get(table.options_of(row).get("precision")))
        else:
            for ended in found:
                assert "\n" not in ended["refused"]
                assert ended["steps"] == 0


def _flat(weights: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([value.flatten() for value in weights.values()])


def _assert_same(found: Any, one: Any, unit: float | None) -> None:
    """Compare with one process: to 1e-10, or to some units in the last place of the way gone."""
    assert list(found["weights"]) == list(one["weights"])
    if unit is None:
        for name, value in one["weights"].items():
            assert torch.allclose(found["weights"][name], value, rtol=0, atol=1e-10), name
    else:
        end = _flat(one["weights"])
        way, away = end - _flat(one["before"]), end - _flat(found["weights"])
        assert float(way.norm()) > 0
        assert float(away.norm()) <= 4 * unit * float(way.norm())
    tolerance = {"abs": 1e-10} if unit is None else {"rel": 4 * unit}
    assert len(found["history"]) == len(one["history"])
    for mine, record in zip(found["history"], one["history"], strict=True):
        assert mine.training == pytest.approx(record.training, **tolerance)
        assert mine.validation == pytest.approx(record.validation, **tolerance)
        assert (mine.step, mine.phase, mine.skipped) == (record.step, record.phase, record.skipped)
        if unit is None:
            assert (mine.best, mine.converged) == (record.best, record.converged)
    for task, value in one["predictions"].items():
        bound = 1e-10 if unit is None else 4 * unit * float(value.abs().max())
        assert torch.allclose(found["predictions"][task], value, rtol=0, atol=bound)
