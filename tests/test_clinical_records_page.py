"""The blocks of docs/clinical_records.md run as the page says, one after the other."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from jointrain.cli import run

PAGE = (Path(__file__).parents[1] / "docs" / "clinical_records.md").read_text()
PROGRAMS = re.findall(r"^```py\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
(COMMANDS,) = re.findall(r"^```bash\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.integration
def test_the_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(PROGRAMS[0], "table", "exec"), names)
    for command in COMMANDS.replace("\\\n", " ").splitlines():
        words = shlex.split(command)
        assert words[0] == "jointrain"
        assert run(words[1:]) == 0, capsys.readouterr().err
    predicted = pl.read_csv("predictions.csv")
    assert len(predicted) == len(names["records"])
    # the columns that the page names
    wanted = {"death", "death>5", "crp", "diseases=copd", "stage", "stage=3", "days", "days_q0.9"}
    assert wanted < set(predicted.columns)
    exec(compile(PROGRAMS[1], "in Python", "exec"), names)
    assert names["model"].predict(names["records"])["death"].shape == (240, 4)
