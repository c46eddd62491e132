"""The blocks of docs/new_balancer.md run as the page says, one after the other."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

from jointrain.cli import run

PAGE = (Path(__file__).parents[1] / "docs" / "new_balancer.md").read_text()
MODULE, PROGRAM = re.findall(r"^```py\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
(COMMAND,) = re.findall(r"^```bash\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_module", raising=False)
    Path("my_module.py").write_text(MODULE)
    exec(compile(PROGRAM, "program", "exec"), {"__name__": "__main__"})
    assert "'Delta-m'" in capsys.readouterr().out
    assert run(shlex.split(COMMAND)[1:]) == 0, capsys.readouterr().err
    assert Path("model/bundle.json").is_file()
