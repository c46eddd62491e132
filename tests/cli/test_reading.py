"""Tables as a user's files hold them: read at scoring as at training."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from jointrain.bundle import load_bundle
from jointrain.cli import run

QUICK = ["--epochs", "30", "--width", "16", "--depth", "1", "--ensemble", "1", "--device", "cpu"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """Return a model of a number that follows from a version, a flag, a price and a time."""
    folder = tmp_path_factory.mktemp("reading")
    random = np.random.default_rng(0)
    version, flag = random.integers(0, 3, 120), random.integers(0, 3, 120)
    rows = [
        f"{i:05};{['1.1', '1.10', '1.2rc'][v]};{['True', 'False', 'Maybe'][f]};"
        f"1.{i:03},50;0{i % 9 + 1}.02.2024 1{i % 9}:00;{10 * v + f},5"
        for i, (v, f) in enumerate(zip(version, flag, strict=True))
    ]
    text = "id;version;flag;price;when;y\n" + "\n".join(rows) + "\n"
    (folder / "train.csv").write_text(text, encoding="utf-8")
    arguments = [str(folder / "train.csv"), "--targets", "y", "--id", "id", "--out"]
    assert run(["fit", *arguments, str(folder / "model"), *QUICK]) == 0
    return folder / "model"


def predicted(bundle, folder: Path, *rows: str, options=()):
    text = "id;version;flag;price;when\n" + "\n".join(rows) + "\n"
    (folder / "new.csv").write_text(text, encoding="utf-8")
    out = folder / "out.csv"
    arguments = [str(bundle), str(folder / "new.csv"), "--out", str(out), "--force", *options]
    code = run(["predict", *arguments])
    return pl.read_csv(out, infer_schema=False).rows() if code == 0 else code


ROWS = [
    "00001;1.10;True;1.234,50;03.02.2024 10:00",
    "2;1.2rc;Maybe;7;13.02.2024 11:00",
    "NA;1.1;False;;",
]


def test_a_row_alone_is_predicted_as_among_others(bundle, tmp_path):
    together = predicted(bundle, tmp_path, *ROWS)
    assert [row[0] for row in together] == ["00001", "2", "NA"]
    for row, line in zip(together, ROWS, strict=True):
        (alone,) = predicted(bundle, tmp_path, line)
        assert alone[0] == row[0]
        assert float(alone[1]) == pytest.approx(float(row[1]), abs=1e-9)


@pytest.mark.parametrize(
    "row, message",
    [
        ("1;1.1;True;n.v.;03.02.2024 10:00", "column 'price' holds 'n.v.' in row 1 (line 2)"),
        ("1;1.1;True;7;2024-02-03 10:00", "column 'when' holds '2024-02-03 10:00' in row 1"),
        ("1;1.1;True;7;03.02.2024", "which has no time of day"),
        ("1;1.1;True;7;03.02.2024 10:00+02:00", "which has a time zone"),
    ],
)
def test_what_can_not_be_read_as_at_training_is_named(bundle, tmp_path, capsys, row, message):
    assert predicted(bundle, tmp_path, row) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error


def test_flags_say_where_the_table_is_written_otherwise(bundle, tmp_path):
    (german,) = predicted(bundle, tmp_path, "1;1.1;True;1.234,50;03.02.2024 10:00")
    english = "1;1.1;True;1,234.50;2024-02-03 09:00Z"
    options = ["--decimal", ".", "--date-format", "%Y-%m-%d", "--time-zone", "Europe/Berlin"]
    assert predicted(bundle, tmp_path, english, options=options) == [german]


def test_notes_and_schema_of_training(bundle, tmp_path, capsys):
    schema = load_bundle(bundle).schema
    assert schema.columns["version"].kind == "text"
    assert schema.columns["price"].number.decimal == ","
    assert schema.columns["when"].date_form == "%d.%m.%Y"
    assert schema.columns["id"].kind == "verbatim"
    table = tmp_path / "t.csv"
    table.write_text("x,y\n" + "".join(f"{i},{i % 7}.5\n" for i in range(20)) + "n/a,1\n")
    out = str(tmp_path / "model")
    assert run(["fit", str(table), "--targets", "y", "--out", out, *QUICK]) == 0
    assert "words read as missing: x (1 'n/a'); --missing '' keeps them as they are" in (
        capsys.readouterr().err
    )
    assert run(["fit", str(table), "--targets", "y", "--out", out, "--force", "--missing", ""]) == 2
    assert "'n/a' in row 21" in capsys.readouterr().err


def test_a_row_of_totals_is_no_row_to_measure(tmp_path, capsys):
    sold = np.arange(40) % 7
    rows = [f"north,{n},{2 * n}" for n in sold]
    for name, last in (("all", f"Total,{sold.sum()},{2 * sold.sum()}"), ("without", "")):
        text = "region,n,sold\n" + "\n".join([*rows, last]) + "\n"
        (tmp_path / f"{name}.csv").write_text(text, encoding="utf-8")
    model, whole = str(tmp_path / "model"), str(tmp_path / "all.csv")
    assert run(["fit", whole, "--targets", "sold", "--out", model, *QUICK]) == 0
    capsys.readouterr()
    assert run(["evaluate", model, str(tmp_path / "without.csv"), "--json"]) == 0
    wanted = capsys.readouterr().out
    assert run(["evaluate", model, whole, "--json"]) == 0
    measured = capsys.readouterr()
    assert measured.out == wanted
    assert "the last row is left out: it is called 'Total' in column region" in measured.err
    assert run(["predict", model, whole, "--out", "-"]) == 0
    predicted = capsys.readouterr()
    assert len(predicted.out.splitlines()) == 42
    assert "the last row is no case to predict: it is called 'Total'" in predicted.err


def test_what_predictions_lack_is_said(bundle, tmp_path, capsys):
    text = "version;flag;price;when\n1.1;True;1.000,50;01.02.2024 11:00\n"
    (tmp_path / "new.csv").write_text(text)
    arguments = [str(bundle), str(tmp_path / "new.csv"), "--out", "-"]
    assert run(["predict", *arguments]) == 0
    assert "the table has no column 'id', which named the rows" in capsys.readouterr().err
    # 18 rows were left out of training, too few for 99 %; no label was below 0
    assert run(["predict", *arguments, "--intervals", "0.99"]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines()[1].endswith(",0.0,inf")
    assert "too few rows were left out of training to bound y at 99 %" in printed.err
    assert run(["predict", *arguments, "--intervals", "0.5"]) == 0
    assert "too few rows" not in capsys.readouterr().err
