"""Programs of the documentation that tests run as a reader would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
_FENCED = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"^    (?:\$ )?(jointrain .*(?:\n        .*)*)", re.MULTILINE)


def programs_of(page: Path) -> list[str]:
    """Return the Python of a page that runs as it is, in order."""
    return [inside for kind, inside in _FENCED.findall(page.read_text()) if kind == "python"]


def commands_of(page: Path) -> list[str]:
    """Return the commands of jointrain in the blocks of a page, one a line."""
    text = page.read_text().replace("\\\n", " ")
    blocks = [inside for kind, inside in _FENCED.findall(text) if kind in ("", "bash", "sh")]
    return [
        command.strip()
        for block in [*blocks, *_INDENTED.findall(text)]
        for line in block.splitlines()
        for command in re.findall(r"(?:^ *|\| |\$ |-m )(jointrain .*)", line)
    ]


def output_of(arguments: Sequence[str], folder: Path) -> str:
    """Run Python with these arguments in a folder; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *arguments],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
