"""Every Python block of the README and the docs runs, and every command that they name is there."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from jointrain.cli._command_line import app_of
from tests.page_programs import commands_of

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
RUN_AS_A_WHOLE = {"clinical_records.md", "larger_than_memory.md", "recommender_logs.md"}
"""Pages of commands and code that use each other's files; each has a test of its own."""

SLOW = {"README.md-0", "README.md-1", "README.md-4", "compare.md-1"}
"""Blocks that train whole studies."""

PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCKS = [
    pytest.param(block, id=name, marks=[pytest.mark.integration] if name in SLOW else [])
    for page in PAGES
    if page.name not in RUN_AS_A_WHOLE
    for number, block in enumerate(PYTHON.findall(page.read_text()))
    for name in [f"{page.name}-{number}"]
]


@pytest.mark.parametrize("block", BLOCKS)
def test_block_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "block", "exec"), {"__name__": "__main__"})


COMMANDS = [
    pytest.param(command, id=f"{page.name}: {command[:60]}")
    for page in PAGES
    for command in commands_of(page)
]


@pytest.mark.parametrize("command", COMMANDS)
def test_command_has_these_flags(command):
    """A page names no command and no flag that is not there."""
    known = typer.main.get_command(app_of())
    words = shlex.split(command.split(" | ")[0], comments=True)[1:]
    if words[0].startswith("--"):
        subject = known
    else:
        assert words[0] in known.commands, words[0]
        subject = known.commands[words[0]]
    flags = {flag for option in subject.params for flag in option.opts} | {"--help"}
    used = set(re.findall(r"(?<!\S)--[a-z][\w-]*", command))
    assert used <= flags | {"--install-completion"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_the_index_names_each_page():
    index = (ROOT / "docs/index.md").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "index.md" or f"]({page.name})" in index, page.name


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) < 200
