"""The table of docs/training_options.md: each of its cells is a test."""

from pathlib import Path

import pytest
import torch
from torch import nn

from jointrain import (
    Alternating,
    HardSharing,
    InvalidInputError,
    Merge,
    Phase,
    Phases,
    Trainer,
)
from jointrain.training import Run, _compilation
from jointrain.training.population import fit_together, why_not_stacked
from tests.training.checkpoints import runs

TABLE = Path(__file__).parents[2] / "docs" / "training_options.md"
GROUPS = {"trunk": {"lr": 1e-4}}
NAMES = {"STEPS": runs.STEPS, "GROUPS": GROUPS}
PHASES = Phases(
    [
        Phase(name="heads", epochs=1, freeze="trunk"),
        Phase(name="thaw", epochs=2, unfreeze="from_top", schedule=Alternating("round_robin")),
        Phase(name="tune", steps=2, each_task=True),
    ]
)
COLUMNS = {
    "joint": runs.cases()["joint"],
    "alternating": runs.cases()["alternating"],
    "phases": {"schedule": PHASES, "data": runs.rows},
    "phases that pretrain": runs.cases()["phases"],
    "merge": {"schedule": Merge("ties", head_epochs=1), "epochs": 2, "data": runs.rows},
    "mixture": runs.cases()["mixture"],
}


def _cells():
    lines = TABLE.read_text().split("## What works with what")[1].splitlines()
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line[:1] == "|"]
    heading, _, *body = table
    assert heading[1:] == [*COLUMNS, "population"]
    return [
        pytest.param(
            row[0].strip("`"),
            column,
            cell,
            # these take seconds; test_compilation.py and test_bad_rows.py have short ones
            marks=[pytest.mark.integration] * ("compile" in row[0] or "bad_rows" in row[0]),
        )
        for row in body
        for column, cell in zip(heading[1:], row[1:], strict=True)
    ]


@pytest.fixture(autouse=True)
def _quick_compiler(monkeypatch):
    """Let torch trace and differentiate, but leave the kernels as they are."""
    monkeypatch.setattr(_compilation, "BACKEND", "aot_eager")
    yield
    torch.compiler.reset()


@pytest.mark.parametrize("option, column, cell", _cells())
def test_a_cell_of_the_table(option, column, cell, tmp_path):
    options = eval(f"dict({option})", NAMES)
    if cell == "apart":
        _assert_apart(options)
        return
    case = COLUMNS[column] | options
    if cell == "refused":
        with pytest.raises(InvalidInputError):
            runs.fit(runs.trainer(case), case)
        return
    assert cell == "works"
    whole = runs.trainer(case)
    files = runs.every_checkpoint(whole, case, tmp_path / "all")
    assert all(bool(p.isfinite().all()) for p in whole.network.parameters())
    for file in files[1::4]:
        runs.assert_same_end(runs.resumed_from(file, case, tmp_path / "one"), whole)


def _assert_apart(options):
    def made():
        torch.manual_seed(2)
        heads = {"number": nn.Linear(6, 1), "kind": nn.Linear(6, 3)}
        network = HardSharing(nn.Sequential(nn.Linear(4, 6), nn.Tanh()), heads)
        trainer = Trainer(network, runs.TASKS, epochs=2, batch_size=8, device="cpu", **options)
        return Run(trainer, runs.rows(), None)

    alone, one, other = made(), made(), made()
    assert why_not_stacked(one) is not None
    alone.fit()
    fit_together([one, other])
    for run in (one, other):
        for mine, theirs in zip(
            run.trainer.network.parameters(), alone.trainer.network.parameters(), strict=True
        ):
            assert torch.equal(mine, theirs)
