"""The command line and tables: sources, how they are read, and what predictions carry."""

import csv
import io
import json
import sys

import polars as pl
import pytest

from jointrain.cli import run

QUICK = ["--ensemble", "1", "--epochs", "1", "--width", "4", "--depth", "1"]
IDS = ["00123", "12345678901234567890", "1E5", "+7", " k ", "NA", "None", "2024-01-05", "TRUE", "x"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a table and a model of it."""
    folder = tmp_path_factory.mktemp("tables")
    rows = [[f"{i:05d}", f"{i % 7}.50", f"g{i % 5}", f"{i * 2}"] for i in range(40)]
    write(folder / "t.csv", [["id", "größe", "g", "y"], *rows], "cp1252", delimiter=";")
    fit = ["fit", str(folder / "t.csv"), "--targets", "y", "--id", "id", "--group", "g", *QUICK]
    said = ["--encoding", "cp1252", "--separator", ";"]
    assert run([*fit, *said, "--out", str(folder / "model")]) == 0
    return folder


@pytest.fixture
def inside(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return folder


def write(path, rows, encoding="utf-8", **form):
    with path.open("w", newline="", encoding=encoding) as file:
        csv.writer(file, **form).writerows(rows)


def read(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def new_rows(inside, ids):
    write(inside / "new.csv", [["id", "größe", "g"], *([i, "1.50", "007"] for i in ids)])


def predict(*arguments, out="p.csv"):
    said = ["--encoding", "utf-8", "--separator", ","]
    return run(["predict", "model", *arguments, *said, "--out", out, "--force"])


def test_ids_come_back_byte_for_byte(inside):
    new_rows(inside, IDS)
    assert predict("new.csv") == 0
    header, *rows = read("p.csv")
    assert header == ["id", "y"]
    assert [row[0] for row in rows] == IDS


@pytest.mark.parametrize("ending", [".csv.zst", ".jsonl", ".parquet"])
def test_ids_come_back_in_every_format(inside, ending):
    from jointrain.data import read_raw

    new_rows(inside, IDS)
    assert predict("new.csv", out=f"p{ending}") == 0
    assert read_raw(f"p{ending}").frame["id"].to_list() == IDS


def test_ids_with_a_type_keep_it(inside):
    ids = [2**63 + 1, 2**63 + 2]
    frame = pl.DataFrame({"id": ids, "größe": [1.5, 2.5]}, schema_overrides={"id": pl.UInt64})
    frame.write_parquet("new.parquet")
    assert predict("new.parquet", out="p.parquet") == 0
    assert pl.read_parquet("p.parquet")["id"].dtype == pl.UInt64
    assert predict("new.parquet") == 0
    assert [row[0] for row in read("p.csv")[1:]] == [str(i) for i in ids]


def test_columns_are_kept_if_asked(inside, capsys):
    new_rows(inside, IDS)
    assert predict("new.csv", "--keep", "g,größe") == 0
    header, first, *_ = read("p.csv")
    assert header == ["id", "g", "größe", "y"]
    assert first[:3] == ["00123", "007", "1.50"]
    assert predict("new.csv", "--keep", "größ") == 2
    assert "column 'größ' is not in new.csv (did you mean 'größe'" in capsys.readouterr().err
    write(inside / "with.csv", [["größe", "y"], ["1.5", "2"]])
    assert predict("with.csv", "--keep", "y") == 2
    assert "can't be kept, because a prediction has that name" in capsys.readouterr().err


def test_how_the_table_was_read_is_kept(inside, capsys):
    notes = json.loads((inside / "model" / "bundle.json").read_text(encoding="utf-8"))["notes"]
    assert notes["reading"] == {"encoding": "cp1252", "separator": ";"}
    assert run(["predict", "model", "t.csv", "--out", "again.csv", "--force"]) == 0
    assert run(["evaluate", "model", "t.csv"]) == 0
    new_rows(inside, IDS)
    capsys.readouterr()
    assert run(["predict", "model", "new.csv", "--out", "q.csv"]) == 2
    assert "new.csv is UTF-8 with words such as 'größe'" in capsys.readouterr().err


def test_standard_input(inside, monkeypatch, capsys):
    data = (inside / "t.csv").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert run(["predict", "model", "-", "--out", "-"]) == 0
    assert capsys.readouterr().out.startswith("id,y\n00000,")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data.decode("cp1252").encode())))
    assert run(["fit", "-", "--targets", "y", "--ignore", "id", *QUICK]) == 0
    assert (inside / "stdin-answer" / "bundle.json").exists()


def test_what_was_decided_about_the_file_is_said(inside, capsys):
    write(
        inside / "notes.csv", [["# made today"], ["x", "y", ""], *([i, i, ""] for i in range(40))]
    )
    assert run(["fit", "notes.csv", "--targets", "y", "--out", "n", *QUICK]) == 0
    said = capsys.readouterr().err
    assert "note: 1 line that begins with '#'" in said
    assert "note: the header of notes.csv has no name for column 3" in said


def test_comment_and_separator_in_a_config_file(inside, capsys):
    (inside / "odd.txt").write_text("x:y\n" + "%\n" + "".join(f"{i}:{i}\n" for i in range(40)))
    (inside / "c.toml").write_text('table="odd.txt"\ntargets="y"\nseparator=":"\ncomment="%"\n')
    assert run(["fit", "--config", "c.toml", "--out", "odd", *QUICK]) == 0
    assert "odd: " not in capsys.readouterr().err
