"""A competition table: every line of the script runs, and the submission is better than chance."""

import runpy
import shlex
from pathlib import Path

import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from jointrain.cli import run

ROOT = Path(__file__).parents[2]
SCRIPT = (ROOT / "examples" / "competition.sh").read_text()
EXAMPLE = runpy.run_path(str(ROOT / "examples" / "competition_data.py"))
LABELS = "--targets art,law,health,money,sport --id id"


@pytest.mark.parametrize("seed", [pytest.param(0, marks=pytest.mark.integration), 1])
def test_the_lines_give_a_submission(seed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    EXAMPLE["main"]([".", "--seed", str(seed)])
    commands = [line for line in SCRIPT.splitlines() if line.startswith("jointrain ")]
    if seed:  # the searches once
        commands = [line for line in commands if " together" in line]
    for line in commands:
        arguments = shlex.split(line.replace("$LABELS", LABELS))[1:]
        quick = {"fit": ["--epochs", "25", "--ensemble", "2"], "predict": []}.get(arguments[0])
        small = ["--epochs", "2", "--trials", "1", "--folds", "2", "--ensemble", "1"]
        assert run([*arguments, *(small if quick is None else quick)]) == 0, line
    fields = SCRIPT.rsplit("-f", 1)[1].split()[0].split(",")
    predictions = pl.read_csv("predictions.csv")
    submission = predictions[:, [int(field) - 1 for field in fields]]
    assert submission.columns == ["id", *(f"{topic}=1" for topic in EXAMPLE["TOPICS"])]
    solution = pl.read_csv("solution.csv")
    assert submission["id"].equals(solution["id"])
    scores = [roc_auc_score(solution[t], submission[f"{t}=1"]) for t in EXAMPLE["TOPICS"]]
    assert min(scores) > 0.6
    assert sum(scores) / len(scores) > 0.7  # 0.5: chance


def test_the_page_shows_the_lines_of_the_script():
    page = (ROOT / "docs" / "examples" / "competition.md").read_text()
    lines = [line for line in SCRIPT.splitlines() if not line.startswith("#")]
    assert "\n".join(lines) in page
