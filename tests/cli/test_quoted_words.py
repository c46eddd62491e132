"""Words in quotes that without them mean a missing value: the same in training and later."""

import csv
import json

import numpy as np
import polars as pl
import pytest

from jointrain import load_bundle
from jointrain.cli import run
from jointrain.data.streaming import _table_sources
from jointrain.serving import TableService
from jointrain.serving._request_rows import CSV

ROWS = 90


def write(path, words, columns=("place", "x", "y")):
    """Write a table whose first column holds three words, all in quotes."""
    x = np.random.default_rng(0).normal(size=ROWS).round(3)
    cells = {
        "place": [words[i % 3] for i in range(ROWS)],
        "x": x.tolist(),
        "y": [float(10 * (i % 3) + v) for i, v in enumerate(x)],
    }
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerows([columns, *zip(*(cells[name] for name in columns), strict=True)])


def fit(target, *more):
    quick = ["--epochs", "3", "--width", "8", "--depth", "1", "--ensemble", "1", "--force"]
    assert run(["fit", "t.csv", "--targets", target, "--out", "b", *quick, *more]) == 0


def predictions(capsys, table):
    capsys.readouterr()
    assert run(["predict", "b", table, "--out", "-"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("word, more", [("NA", []), ("Nx", ["--missing", "Nx"])])
def test_a_feature(tmp_path, monkeypatch, capsys, word, more):
    monkeypatch.chdir(tmp_path)
    plain = ["N_", "EU", "AS"]
    write(tmp_path / "t.csv", plain)
    fit("y")
    expected = predictions(capsys, "t.csv")
    write(tmp_path / "t.csv", [word, *plain[1:]])
    write(tmp_path / "parts" / "a.csv", [word, *plain[1:]])
    fit("y", *more)
    assert predictions(capsys, "t.csv") == expected
    assert predictions(capsys, "parts") == expected
    assert run(["evaluate", "b", "t.csv", "--json"]) == 0
    whole = json.loads(capsys.readouterr().out)
    assert run(["evaluate", "b", "parts", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == whole
    service = TableService(load_bundle("b"))
    asked = service.read((tmp_path / "t.csv").read_bytes(), CSV)
    found = service.answer([asked])[0].table["y"].to_list()
    assert found == [float(line) for line in expected.split()[1:]]
    monkeypatch.setattr(_table_sources, "LARGE_BYTES", 0)
    assert predictions(capsys, "t.csv") == expected


def test_a_class(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "t.csv", ["NA", "EU", "AS"])
    fit("place")
    for source in ("t.csv", "."):
        capsys.readouterr()
        assert run(["evaluate", "b", source, "--json"]) == 0
        measured = json.loads(capsys.readouterr().out)["place"]
        share = measured["accuracy"]
        right = pl.Series(predictions(capsys, "t.csv").splitlines()[1:]).str.split(",")
        found = right.list.first() == pl.Series(["NA", "EU", "AS"] * (ROWS // 3))
        assert share == pytest.approx(found.mean())


def test_a_frame_in_memory_has_no_quotes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "t.csv", ["NA", "EU", "AS"])
    fit("y")
    model = load_bundle("b")
    word = model.predict(pl.DataFrame({"place": ["NA"], "x": [0.0]}))["y"]
    none = model.predict(pl.DataFrame({"place": [None], "x": [0.0]}))["y"]
    assert word == none
