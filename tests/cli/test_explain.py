"""`jointrain explain` as a user runs it."""

import json

import numpy as np
import polars as pl
import pytest

from jointrain.bundle import save_bundle
from jointrain.cli import run
from tests.serving._models import model, table


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table().write_csv("table.csv")
    return save_bundle(model(), "model")


@pytest.mark.parametrize(
    "flags, said",
    [
        ([], "--out FILE, or --json"),
        (["--out", "-", "--json"], "choose one"),
        (["--out", "e.xyz"], "an ending that jointrain can't write"),
        (["--out", "table.csv"], "table.csv exists"),
        (["--out", "e.csv", "--rows", "0"], "`rows` must be 1 or more, got 0"),
        (["--out", "e.csv", "--seed", "-1"], "`seed` must be 0 or more and below 2^32, got -1"),
        (["--out", "e.csv", "--background", "no.csv"], "no.csv"),
        (["--out", "e.csv", "--background", "model"], "model is a folder"),
    ],
)
def test_what_is_wrong_is_one_line(bundle, flags, said, capsys):
    assert run(["explain", "model", "table.csv", *flags]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert sorted(path.name for path in bundle.parent.iterdir()) == ["model", "table.csv"]


def test_without_shap_one_line_says_so(bundle, monkeypatch, capsys):
    monkeypatch.setattr("jointrain.tables._explanations.find_spec", lambda name: None)
    assert run(["explain", "model", "table.csv", "--out", "e.csv"]) == 2
    error = capsys.readouterr().err
    assert "pip install 'jointrain[explain]'" in error
    assert error.count("\n") == 1


@pytest.mark.integration
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_contributions_sum_to_what_predict_writes(bundle, ending, capsys):
    pytest.importorskip("shap", reason="the package shap is not installed")
    out = f"e.{ending}"
    assert run(["explain", "model", "table.csv", "--rows", "7", "--out", out]) == 0
    printed, told = capsys.readouterr()
    assert "the first 7 of 60 rows are explained" in told
    assert "7 rows against 60 (exact; " in printed
    assert "Explained 7 rows: e." in printed
    assert run(["predict", "model", "table.csv", "--out", "p.csv"]) == 0
    predicted = pl.read_csv("p.csv")
    frame = pl.read_csv(out) if ending == "csv" else pl.read_parquet(out)
    assert frame["column"].unique().sort().to_list() == [
        "age", "garden", "size (m²)", "sold", "town",
    ]  # fmt: skip
    assert dict(frame.select("output", "unit").iter_rows()) == {
        "price": "number",
        "dear=yes": "probability",
    }
    sums = frame.group_by("row", "output", maintain_order=True).agg(
        pl.col("base").first() + pl.col("contribution").sum()
    )
    for output in ("price", "dear=yes"):
        found = sums.filter(pl.col("output") == output)["base"].to_numpy()
        np.testing.assert_allclose(found, predicted[output][:7].to_numpy(), rtol=0, atol=1e-6)


@pytest.mark.integration
def test_one_row_against_another_table_as_json(bundle, capsys):
    pytest.importorskip("shap", reason="the package shap is not installed")
    table().head(1).write_csv("one.csv")
    assert run(["explain", "model", "one.csv", "--json"]) == 2
    assert "--background TABLE" in capsys.readouterr().err
    flags = ["--background", "table.csv", "--background-rows", "20", "--json"]
    assert run(["explain", "model", "one.csv", *flags]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["rows"], told["background_rows"], told["exact"]) == (1, 20, True)
    for output in told["outputs"]:
        total = output["base"] + sum(output["contributions"][0])
        assert total == pytest.approx(output["predictions"][0], abs=1e-9)


@pytest.mark.integration
def test_an_id_that_is_called_as_a_column_of_the_lines_is_kept(bundle, capsys):
    pytest.importorskip("shap", reason="the package shap is not installed")
    named = table().with_columns(row=pl.Series([f"r{i}" for i in range(60)]))
    named.write_csv("named.csv")
    save_bundle(model(), "with-id", notes={"id": "row"})
    assert run(["explain", "with-id", "named.csv", "--rows", "2", "--out", "e.csv"]) == 0
    lines = pl.read_csv("e.csv")
    assert lines.columns[:2] == ["row of the table", "row"]
    assert set(zip(lines["row"], lines["row of the table"], strict=True)) == {(1, "r0"), (2, "r1")}
