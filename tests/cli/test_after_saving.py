"""No fault after the training is done costs the model."""

import errno
import os
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from jointrain.bundle import add_notes, describe_bundle, load_bundle
from jointrain.cli import run
from jointrain.data import read_table
from jointrain.errors import InvalidInputError

QUICK = ["--epochs", "2", "--width", "4", "--depth", "1", "--ensemble", "1", "--device", "cpu"]
STUDY = ["--recipes", "separate,joint", "--baselines", "constant,linear", "--seeds", "1",
         "--workers", "1"]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(0).normal(size=40)
    frame = pl.DataFrame({"x": x, "y": 2 * x, "z": -x}).with_columns(
        pl.lit("only").alias("one"),
        (pl.int_range(40) // 20).alias("half"),
        pl.lit(pl.Series([f"2024-01-{1 + i // 20:02d}" for i in range(40)])).alias("day"),
        pl.Series("cls", ["a"] * 20 + ["b"] * 20),
        pl.Series("few", [1.0, 2.0, 3.0] + [None] * 37),
    )
    frame.write_csv("t.csv")
    frame.head(2).write_csv("two.csv")
    frame.head(3).write_csv("three.csv")
    return tmp_path


def fit(table: str, targets: str, *more: str) -> int:
    return run(["fit", table, "--targets", targets, *QUICK, "--out", "out", *more])


@pytest.mark.parametrize(
    "table, targets, more, skipped",
    [
        ("t.csv", "y", ["--group", "one"], True),
        ("t.csv", "y", ["--time", "one"], None),  # text is no time
        ("t.csv", "y", ["--time", "day"], False),
        ("t.csv", "cls", ["--group", "half"], True),
        ("t.csv", "y,cls", ["--group", "cls"], None),  # a target is no group
        ("t.csv", "y", ["--group", "cls"], False),
        ("t.csv", "y,cls", ["--group", "half"], True),
        ("t.csv", "y,few", ["--group", "half"], False),
        ("t.csv", "y,few", ["--time", "day"], False),
        ("two.csv", "y,z", [], True),
        ("three.csv", "y,z", [], False),
    ],
)
def test_fit_saves_a_model_where_no_row_can_be_held_out(
    folder, capsys, table, targets, more, skipped
):
    code = fit(table, targets, *more)
    said = capsys.readouterr()
    assert (code == 2) == (skipped is None)
    if code == 2:
        assert said.err.count("error:") == 1
        assert "Traceback" not in said.err
        assert not Path("out").exists()
        return
    assert code == 0
    predicted = load_bundle("out").predict_table(read_table(table))
    assert predicted.height == read_table(table).height
    assert not predicted.select(pl.selectors.float().is_nan().any()).row(0).count(True)
    if skipped:
        assert describe_bundle("out")["notes"].get("importance") is None
        assert "note: column importance skipped: no row could be left out" in said.err
    else:
        assert describe_bundle("out")["notes"]["importance"]["columns"]


def test_a_fault_in_every_extra_costs_no_model(folder, capsys, monkeypatch):
    from jointrain.studies import StudyResult

    def fail(*_, **__):
        raise ZeroDivisionError("made for this test")

    monkeypatch.setattr("jointrain.tables.unseen_column_importance", fail)
    monkeypatch.setattr("jointrain.reports.write_markdown", fail)
    monkeypatch.setattr("jointrain.reports.write_page", fail)
    monkeypatch.setattr(StudyResult, "plot", fail)
    arguments = ["t.csv", "--targets", "y,z", "--folds", "2", "--out", "out", "--ship", "networks"]
    # networks that have learned nothing would give way to a constant, which has no importance
    assert run(["compare", *arguments, *STUDY, *QUICK, "--epochs", "60"]) == 0
    said = capsys.readouterr()
    for what in ("column importance", "changes.png", "report.md", "report.html"):
        assert f"note: {what} skipped: ZeroDivisionError: made for this test" in said.err
    assert sorted(path.name for path in Path("out").iterdir()) == ["bundle", "results.parquet"]
    assert load_bundle("out").predict(read_table("t.csv"))["y"].shape == (40,)


def test_a_full_disk_is_told_in_words(folder, capsys, monkeypatch):
    def fail(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "out/report.html")

    monkeypatch.setattr("jointrain.reports.write_page", fail)
    arguments = ["t.csv", "--targets", "y,z", "--folds", "2", "--out", "out"]
    assert run(["compare", *arguments, *STUDY, *QUICK]) == 0
    said = capsys.readouterr().err
    assert "note: report.html skipped: No space left on device\n" in said


def test_stopping_an_extra_keeps_the_model(folder, capsys, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("jointrain.tables.unseen_column_importance", stop)
    assert fit("t.csv", "y,z") == 0
    assert "note: column importance skipped: stopped" in capsys.readouterr().err
    assert load_bundle("out").predict(read_table("t.csv"))["z"].shape == (40,)


def test_added_notes_replace_those_of_their_name_and_nothing_else(folder):
    assert fit("t.csv", "y,z", "--id", "half") == 0
    before = describe_bundle("out")
    add_notes("out", {"importance": None, "more": [1, 2]})
    after = describe_bundle("out")
    assert after["notes"] == {**before["notes"], "importance": None, "more": [1, 2]}
    changed = ("notes", "digest")
    assert {k: v for k, v in after.items() if k not in changed} == {
        k: v for k, v in before.items() if k not in changed
    }
    assert not list(Path("out").glob(".*.tmp*"))
    with pytest.raises(InvalidInputError, match="no bundle"):
        add_notes("nowhere", {})


OWN = '''
import torch
from jointrain import HardSharing, MLP
from jointrain.baselines import BASELINES


def tower(in_features, tasks, *, width=8):
    heads = {task.name: torch.nn.Linear(width, task.output_size) for task in tasks}
    return HardSharing(MLP(in_features, width=width, depth=1), heads)


class Ridge(type(BASELINES["linear"])):
    """The linear model under a name of one's own."""

    name = "ridge"
'''


@pytest.mark.parametrize(
    "command",
    [
        ["fit", "--network", "own_parts:tower"],
        pytest.param(
            [
                "compare",
                *("--network", "own_parts:tower", *STUDY),
                *("--ship", "networks", "--epochs", "60"),
            ],
            marks=pytest.mark.integration,
        ),
        ["compare", *STUDY[:2], *STUDY[4:], "--baselines", "own_parts:Ridge"],
    ],
)
def test_the_printed_command_predicts_also_with_code_of_ones_own(
    folder, capsys, command, monkeypatch
):
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "own_parts", raising=False)
    (folder / "own_parts.py").write_text(OWN)
    name, *more = command
    assert run([name, "t.csv", "--targets", "y,z", *QUICK, "--out", "out", *more]) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    own = "--factory own_parts:Ridge" if "Ridge" in command[-1] else "--factory own_parts:tower"
    assert said.startswith("Predict with: jointrain predict out")
    assert own in said
    words = said.removeprefix("Predict with: jointrain ").replace("TABLE", "t.csv").split()
    assert run(words) == 0
    assert len(pl.read_csv("predictions.csv")) == 40
