"""`jointrain demo` needs no file but those of the package."""

from pathlib import Path

from jointrain.cli import _command_line
from jointrain.cli._command_line import run


def test_it_compares_a_table_of_the_package(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    commands = []
    monkeypatch.setattr(_command_line, "run", lambda command: commands.append(command) or 0)
    assert run(["demo", "--out", "mine", "--force"]) == 0
    ((name, table, *rest),) = commands
    assert name == "compare"
    assert Path(table).is_file()
    asked = "--targets heating_load,cooling_load --recipes separate,joint"
    runs = "--ensemble 3 --folds 10 --seeds 1"
    assert " ".join(rest) == f"{asked} {runs} --out mine --force"
    assert capsys.readouterr().err.startswith("jointrain compare ")


def test_an_answer_that_is_there_is_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("energy-answer").mkdir()
    Path("energy-answer/mine.txt").write_text("kept")
    assert run(["demo"]) == 2
    assert "energy-answer" in capsys.readouterr().err
    assert Path("energy-answer/mine.txt").read_text() == "kept"
