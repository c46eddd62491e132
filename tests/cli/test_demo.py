"""`jointrain demo` needs no file but those of the package."""

import json
from pathlib import Path

import pytest

from jointrain.cli import _command_line
from jointrain.cli._command_line import run


def _run_instead(monkeypatch, code=0):
    commands = []

    def instead(command):
        commands.append(command)
        if "--json" in command:
            print(json.dumps({"answer": "It does not matter."}))
        return code

    monkeypatch.setattr(_command_line, "run", instead)
    return commands


def test_it_compares_two_tables_of_the_package(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    commands = _run_instead(monkeypatch)
    assert run(["demo", "--out", "mine", "--force"]) == 0
    asked = "--targets heating_load,cooling_load --recipes separate,joint"
    runs = "--ensemble 3 --folds 10 --seeds 1"
    penguins = "--targets species,sex,body_mass_g --recipes separate,joint --seeds 1"
    for (name, table, *rest), wanted in zip(
        commands,
        (
            f"{asked} {runs} --out mine --force",
            f"{penguins} --out mine-penguins --force --json",
        ),
        strict=True,
    ):
        assert name == "compare"
        assert Path(table).is_file()
        assert " ".join(rest) == wanted
    printed = capsys.readouterr()
    assert printed.err.startswith("jointrain compare ")
    assert printed.out.splitlines()[-1] == "It does not matter."


def test_a_first_answer_that_fails_is_the_last(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    commands = _run_instead(monkeypatch, code=130)
    assert run(["demo"]) == 130
    assert len(commands) == 1


@pytest.mark.parametrize("name", ["energy-answer", "energy-answer-penguins"])
def test_an_answer_that_is_there_is_kept(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path(name).mkdir()
    Path(name, "mine.txt").write_text("kept")
    assert run(["demo"]) == 2
    assert name in capsys.readouterr().err
    assert Path(name, "mine.txt").read_text() == "kept"


@pytest.mark.parametrize("force", [[], ["--force"]])
@pytest.mark.parametrize("place", [".", "..", "/"])
def test_a_folder_that_is_no_place_for_an_answer_is_refused_in_a_line(
    place, force, tmp_path, monkeypatch, capsys
):
    (tmp_path / "work").mkdir()
    (tmp_path / "work/mine.txt").write_text("kept")
    monkeypatch.chdir(tmp_path / "work")
    assert run(["demo", "--out", place, *force]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
