"""``python -m jointrain``, where the command is not on the path."""

import subprocess
import sys

import pytest

from jointrain import __version__


@pytest.mark.parametrize(
    "arguments, code, said",
    [(["--version"], 0, __version__), (["train"], 2, "No such command 'train'")],
)
def test_module_runs_the_command_line(arguments, code, said):
    ran = subprocess.run(
        [sys.executable, "-m", "jointrain", *arguments], capture_output=True, text=True
    )
    assert ran.returncode == code
    assert said in ran.stdout + ran.stderr


def test_help_alone_ends_in_no_error_line():
    ran = subprocess.run([sys.executable, "-m", "jointrain"], capture_output=True, text=True)
    assert ran.returncode == 2
    assert "Usage: jointrain" in ran.stdout + ran.stderr
    assert "error" not in ran.stdout + ran.stderr
