"""The blocks of docs/recommender_logs.md run as the page says, one after the other."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import polars as pl

from jointrain.cli import run

PAGE = Path(__file__).parents[1] / "docs" / "recommender_logs.md"
BLOCKS = re.findall(r"```(python|bash)\n(.*?)```", PAGE.read_text(), re.DOTALL)


def test_every_block_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    commands = []
    for language, block in BLOCKS:
        if language == "python":
            exec(compile(block, PAGE.name, "exec"), names)
            continue
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line)
            commands.append(words[1])
            assert words[0] == "jointrain"
            workers = ["--workers", "1"] if words[1] == "compare" else []
            assert run([*words[1:], *workers]) == 0, capsys.readouterr().err
    assert commands == ["fit", "compare", "evaluate", "predict"]
    predictions = pl.read_csv(tmp_path / "predictions.csv")
    assert predictions.height == 500
    assert {"click", "click=yes", "like", "like=yes"} <= {*predictions.columns}
    printed = capsys.readouterr()
    assert "item (150 values)" in printed.out + printed.err
