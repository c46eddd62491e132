"""Shells complete commands, flags and files; see `jointrain --install-completion`."""

import os
import pty
import select
import shutil
import subprocess
import sys
import time

import pytest

from jointrain.cli._command_line import run

SHELLS = ["bash", "zsh", "fish"]


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_shown(shell, capsys, monkeypatch):
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    assert run(["--show-completion", shell]) == 0
    shown = capsys.readouterr()
    assert "_JOINTRAIN_COMPLETE" in shown.out
    assert shown.err == ""


def asked(shell, typed, **environment):
    """Return what the command answers to a shell whose line is `typed`."""
    words = {"COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
    asks = {"_JOINTRAIN_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_ARGS": typed, **words}
    return subprocess.run(
        [sys.executable, "-m", "jointrain"],
        env={**os.environ, **asks, **environment},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_that_asks_gets_an_answer(shell):
    answer = asked(shell, "jointrain con", _TYPER_COMPLETE_FISH_ACTION="get-args")
    assert "convert" in answer.stdout
    assert (answer.returncode, answer.stderr) == (0, "")


@pytest.mark.parametrize("typed, code", [("jointrain con", 0), ("jointrain fit da", 1)])
def test_fish_learns_whether_files_are_meant(typed, code):
    answer = asked("fish", typed, _TYPER_COMPLETE_FISH_ACTION="is-args")
    assert (answer.returncode, answer.stderr) == (code, "")


TYPED = [
    ("jointrain con", "convert"),
    ("jointrain fit --tar", "--targets"),
    ("jointrain fit buil", "buildings.csv"),
]


@pytest.fixture
def home(tmp_path):
    (tmp_path / "buildings.csv").touch()
    # a command of this interpreter, as an installation makes one
    command = tmp_path / "bin/jointrain"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m jointrain "$@"\n')
    command.chmod(0o755)
    return tmp_path


def environment_of(home):
    path = f"{home}/bin:{os.environ['PATH']}"
    return {**os.environ, "HOME": str(home), "ZDOTDIR": str(home), "PATH": path, "TERM": "xterm"}


def install(shell, home):
    command = [shell, "-c", "jointrain --install-completion; true"]
    subprocess.run(command, env=environment_of(home), check=True, capture_output=True)


@pytest.mark.integration
@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_completes(home):
    install("fish", home)
    for typed, expected in TYPED:
        done = subprocess.run(
            ["fish", "-c", f"complete -C '{typed}'"],
            cwd=home,
            env=environment_of(home),
            capture_output=True,
            text=True,
        )
        assert expected in done.stdout
        assert done.stderr == ""


@pytest.mark.integration
@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_completes(home):
    install("zsh", home)
    with (home / ".zshrc").open("a") as settings:
        settings.write("PS1='ready> '\n")
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(home)
        os.execvpe("zsh", ["zsh", "-i"], environment_of(home))
    try:
        assert "ready" in shown(terminal, "ready")
        typed = b"jointrain \t"  # the first one loads the completion
        for start, expected in TYPED:
            os.write(terminal, typed + f"\x15{start}\t".encode())  # Control-U clears the line
            added = expected.removeprefix(start.split()[-1])
            assert added in shown(terminal, added)
            typed = b""
    finally:
        os.write(terminal, b"\x03exit\n")
        os.close(terminal)
        os.waitpid(child, 0)


def shown(terminal, expected, patience=60.0):
    """Return what the terminal shows until it has shown `expected`."""
    text = ""
    until = time.monotonic() + patience
    while expected not in text and time.monotonic() < until:
        if select.select([terminal], [], [], 1)[0]:
            text += os.read(terminal, 65536).decode(errors="replace")
    return text
