"""The programs of docs/distributed.md and docs/many_ranks.md run as the pages say."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.page_programs import output_of

DOCS = Path(__file__).parents[1] / "docs"
PROGRAMS = {
    (page, re.match(r"# (\S+\.py)", block).group(1)): block
    for page in ("distributed.md", "many_ranks.md")
    for block in re.findall(r"```py\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
}
COMMANDS = [
    (*name, command)
    for name, block in PROGRAMS.items()
    for command in re.findall(r"^# .*?(?:started by|or): (.*)$", block, re.MULTILINE)
]


def test_the_page_has_programs_and_commands():
    assert {name for _, name in PROGRAMS} == {"train.py", "lightning_train.py", "hf_train.py"}
    assert len(COMMANDS) == 5


@pytest.mark.integration
@pytest.mark.parametrize("page, name, command", COMMANDS)
def test_a_command_of_the_page_runs(page, name, command, tmp_path):
    (tmp_path / name).write_text(PROGRAMS[page, name])
    words = shlex.split(command)
    starters = {
        "torchrun": ["-m", "torch.distributed.run", "--standalone"],
        "accelerate": ["-m", "accelerate.commands.accelerate_cli"],
        "python": [],
    }
    printed = output_of([*starters[words[0]], *words[1:]], tmp_path)
    assert "2 processes" in printed, printed
