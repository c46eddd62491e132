"""What is seen while something trains, at a terminal and without one."""

import io
import os
import pty
import subprocess
import sys
import threading
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from jointrain.cli import _live
from jointrain.cli._live import LiveView, interim_changes, live_view, sparkline
from jointrain.system.training_feed import TrainingFeed, feed
from tests.reports.test_summary import both, make_result


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(_live.time, "monotonic", lambda: now[0])
    return now


def shown(view):
    console = Console(file=io.StringIO(), width=100)
    console.print(view.render())
    return console.file.getvalue()


def test_a_sparkline_has_the_lowest_and_the_highest_mark():
    assert sparkline([1, 2, 3, 8]) == "▁▂▃█"
    assert sparkline([5, 5]) == "▁▁"
    assert sparkline([float("nan"), 1, 2]) == " ▁█"
    assert sparkline(range(100), width=3) == "▁▅█"
    assert sparkline([]) == ""


def test_time_left_and_rows_a_second_are_told(tmp_path, clock):
    view = LiveView("runs", tmp_path)
    assert view.progress() == "runs: 0 s so far"
    told = TrainingFeed(tmp_path)
    view(0, 40)
    clock[0] += 100
    view(10, 40)
    told.tell(1, 5, 3000, {"a": 0.5}, {}, {})
    assert view.progress() == "runs: 10 of 40, 1 min 40 s so far, about 5 min 0 s left, 30 rows/s"
    # another round begins anew
    view(0, 8)
    clock[0] += 10
    view(4, 8)
    assert "4 of 8, 1 min 50 s so far, about 10 s left" in view.progress()


def test_epochs_alone_tell_what_is_left_at_most(tmp_path, clock):
    view = LiveView("training", tmp_path)
    TrainingFeed(tmp_path).tell(5, 20, 100, {"a": 1.0}, {}, {})
    clock[0] += 10
    assert "about 30 s left" in view.progress()
    assert "at most" in view.progress()


@pytest.mark.parametrize("done, shown", [(1234, "1234"), (0.204, "0.2"), (6.01, "6"), (40, "40")])
def test_what_is_done_is_told_in_plain_numbers(done, shown, tmp_path):
    view = LiveView("runs", tmp_path)
    view(done, 5000)
    assert f"runs: {shown} of 5000," in view.progress()


def test_within_a_budget_what_is_left_of_it_is_told(tmp_path, clock):
    view = LiveView("runs", tmp_path, until=clock[0] + 3700)
    assert view.progress() == "runs: 0 s so far, at most 1 h 1 min left"


def test_a_process_that_counts_anew_takes_nothing_away(tmp_path, clock):
    view = LiveView("runs", tmp_path)
    TrainingFeed(tmp_path).tell(1, 5, 500, {"a": 1.0}, {}, {})
    view.progress()
    clock[0] += 1
    TrainingFeed(tmp_path).tell(1, 5, 100, {"a": 1.0}, {}, {})
    assert view.progress().endswith("100 rows/s")


def test_the_view_has_losses_weights_and_interim_figures(tmp_path):
    view = LiveView("runs", tmp_path)
    view(1, 4)
    TrainingFeed(tmp_path).tell(3, 9, 10, {"a[b]": 0.25}, {"a[b]": 0.75}, {"a[b]": 2.0})
    view.interim("So far: joint 3 % better")
    text = shown(view)
    assert "epoch 3 of 9" in text
    assert "a[b]  ▁ 0.25" in text
    assert "▁ 0.75" in text
    assert "▁ 2" in text
    assert "So far: joint 3 % better" in text
    line = view.line()
    assert "\n" not in line
    assert "loss: a[b] 0.25; So far: joint 3 % better" in line


def test_of_many_tasks_the_first_are_shown(tmp_path):
    view = LiveView("runs", tmp_path)
    TrainingFeed(tmp_path).tell(1, 9, 10, {f"y{n}": 1.0 for n in range(30)}, {}, {})
    assert "and 18 more" in shown(view)


def test_without_a_terminal_there_are_lines(monkeypatch, capsys):
    monkeypatch.setattr(_live, "_FIRST_LINE", 0.01)
    monkeypatch.setattr(_live, "_LINES", 0.01)
    waiting = threading.Event()
    with live_view("runs") as view:
        view(1, 4)
        assert feed().folder.is_dir()
        waiting.wait(0.2)
    folder = feed()
    lines = capsys.readouterr().err.splitlines()
    assert folder is None
    assert lines
    assert all(line.startswith("runs: 1 of 4, 0 s so far") for line in lines)


def test_of_a_search_the_best_candidates_are_told():
    text = interim_changes(make_result(both(joint=3)))
    assert text.startswith("so far, against separate models: joint +")


FIT = """
import sys
from jointrain.cli import run
sys.exit(run(sys.argv[1:]))
"""


@pytest.mark.integration
@pytest.mark.parametrize(
    "command",
    [
        ["fit", "--epochs", "400", "--patience", "400", "--out", "model"],
        ["compare", "--recipes", "separate,joint", "--folds", "2", "--seeds", "2", "--workers",
         "2", "--epochs", "150", "--patience", "150", "--baselines", "constant"],
        ["weigh", "--trials", "2", "--folds", "2", "--seeds", "2", "--workers", "2", "--epochs",
         "150", "--patience", "150"],
    ],
    ids=lambda command: command[0],
)  # fmt: skip
def test_at_a_terminal_the_view_changes_in_place(tmp_path, command):
    rows = pl.DataFrame({"x": [(7 * i % 31) / 31 for i in range(600)]})
    rows = rows.with_columns(y=3 * pl.col("x"), z=pl.col("x") ** 2)
    rows.write_csv(tmp_path / "rows.csv")
    name, *options = command
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", FIT, name, "rows.csv", "--targets", "y,z", *options],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=theirs, env={**os.environ, "COLUMNS": "100",
        "TERM": "xterm-256color", "PYTHONPATH": str(Path(_live.__file__).parents[2])},
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    try:
        while part := os.read(ours, 1 << 16):
            seen += part
    except OSError:  # the other end is closed
        pass
    finally:
        os.close(ours)
    process.stdout.close()
    assert process.wait() == 0, seen.decode()
    text = seen.decode()
    assert "training loss" in text
    assert "rows/s" in text
    assert "epoch " in text
    assert any(mark in text for mark in "▂▃▄▅▆▇█")
    if name != "fit":
        assert "o far" in text
