"""The blocks of docs/larger_than_memory.md run as the page says, one after the other."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import polars as pl
import pytest

from jointrain.cli import run

PAGE = Path(__file__).parents[1] / "docs" / "larger_than_memory.md"
BLOCKS = re.findall(r"```(python|bash)\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.mark.integration
def test_every_block_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    commands = []
    for language, block in BLOCKS:
        if language == "python":
            exec(compile(block.replace("epochs=20", "epochs=2"), PAGE.name, "exec"), names)
            continue
        for line in block.splitlines():
            words = shlex.split(line.replace("--epochs 20", "--epochs 2"))
            commands.append(words[1])
            assert words[0] == "jointrain"
            workers = ["--workers", "1"] if words[1] == "compare" else []
            assert run([*words[1:], *workers]) == 0, capsys.readouterr().err
    assert commands == ["fit", "evaluate", "predict", "compare"]
    predictions = pl.read_csv(tmp_path / "predictions.csv")
    assert predictions["deed"].to_list() == [f"{m}-{n}" for m in range(4) for n in range(500)]
    assert {"price", "sold", "sold=late"} <= {*predictions.columns}
    assert (tmp_path / "answer" / "bundle").is_dir()
