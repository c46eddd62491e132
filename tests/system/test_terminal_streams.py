"""What a terminal can't show, and what it can't take."""

import io
import sys

import pytest
from rich.console import Console

from jointrain.cli import run
from jointrain.errors import InvalidInputError, StoppedError
from jointrain.system.printed_tables import print_table
from jointrain.system.terminal_streams import printable, printing, say, use_plain_characters


@pytest.mark.parametrize(
    "encoding, shown",
    [
        ("ascii", "RMSE v 1.0 +- 0.1 \\xfc \\u65e5"),
        ("latin-1", "RMSE v 1.0 ± 0.1 ü \\u65e5"),
        ("utf-8", "RMSE ↓ 1.0 ± 0.1 ü 日"),
    ],
)
def test_characters_that_an_encoding_lacks(monkeypatch, encoding, shown):
    data = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(data, encoding=encoding))
    use_plain_characters()
    print("RMSE ↓ 1.0 ± 0.1 ü 日", flush=True)
    assert data.getvalue().decode(encoding).strip() == shown


def test_a_result_that_can_not_be_printed_says_where_it_is(monkeypatch, tmp_path):
    class Full(io.StringIO):
        def flush(self):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stdout", Full())
    words = f"can't be written: No space left on device; .* saved in {tmp_path}"
    with pytest.raises(InvalidInputError, match=words), printing(saved=tmp_path):
        print("long")


def test_without_standard_output_nothing_fails(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    use_plain_characters()
    with printing():
        print("nowhere")


ESCAPE = "\x1b]0;title\x07red\x1b[31m\x9b2J"


def test_names_give_a_terminal_no_commands(capsys):
    assert printable(ESCAPE) == "\\x1b]0;title\\x07red\\x1b[31m\\x9b2J"
    assert printable("größe\t1\n") == "größe\t1\n"
    say(f"error: {ESCAPE}")
    console = Console(file=io.StringIO(), width=200)
    print_table(console, ESCAPE, ["target", ESCAPE], [[ESCAPE, "two\nlines"]])
    printed = capsys.readouterr().err + console.file.getvalue()
    assert not {"\x1b", "\x07", "\x9b"} & set(printed)
    assert "two\\nlines" in printed


def test_a_bundle_of_a_stranger_gives_a_terminal_no_commands(tmp_path, capsys):
    table = tmp_path / "a.csv"
    rows = [f"{i},{'ab'[i % 2]}{ESCAPE},{i}" for i in range(40)]
    table.write_text(f"x,{ESCAPE},y\n" + "\n".join(rows) + "\n")
    quick = ["--epochs", "1", "--width", "4", "--depth", "1", "--ensemble", "1", "--device", "cpu"]
    out = str(tmp_path / "out")
    assert run(["fit", str(table), "--targets", f"{ESCAPE},y", "--out", out, *quick]) == 0
    assert run(["inspect", out]) == 0
    assert run(["evaluate", out, str(table)]) == 0
    assert run(["fit", str(table), "--targets", f"{ESCAPE}x", "--out", out, *quick]) == 2
    both = capsys.readouterr()
    assert not {"\x1b", "\x07", "\x9b"} & set(both.out + both.err)


def test_a_very_long_error_is_cut_in_its_middle(capsys):
    say(f"error: {'x' * 100_000}; mend it")
    said = capsys.readouterr().err
    assert len(said) < 2100
    assert said.startswith("error: xxx")
    assert said.endswith("x; mend it\n")


def test_a_stop_after_saving_says_where_the_result_is(tmp_path):
    with pytest.raises(StoppedError, match=f"is saved in {tmp_path}$"), printing(saved=tmp_path):
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt), printing():
        raise KeyboardInterrupt
