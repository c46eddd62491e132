"""The commands of docs/serving.md: a model is fitted and served, and answers as the page shows."""

from __future__ import annotations

import json
import re
import shlex

import pytest

from jointrain.cli import run
from tests.page_programs import ROOT, commands_of, output_of
from tests.serving.test_server import ask, served

pytest.importorskip("uvicorn")
PAGE = ROOT / "docs" / "serving.md"


@pytest.mark.integration
def test_the_page_as_printed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text()
    (program,) = re.findall(r'^python -c "(.*)"$', text, re.MULTILINE)
    output_of(["-c", program], tmp_path)
    fit, serve = (shlex.split(command, comments=True)[1:] for command in commands_of(PAGE))
    assert run([*fit, "--epochs", "2", "--ensemble", "1"]) == 0, capsys.readouterr().err
    (curl,) = re.findall(r"^curl localhost:8000(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (place, *_, body) = shlex.split(curl)
    (shown,) = re.findall(r'^```text\n(\{"predictions.*?)```', text, re.MULTILINE | re.DOTALL)
    assert serve[0] == "serve"
    with served(*serve[1:]) as (_, address):
        answer = ask(address, place, json.loads(body))
    expected = json.loads(shown)
    assert [list(row) for row in answer["predictions"]] == [
        list(row) for row in expected["predictions"]
    ]
    assert answer["notes"] == expected["notes"]
