"""--given in compare, fit, evaluate and predict, and what is refused."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from jointrain.cli import run

QUICK = ["--epochs", "3", "--width", "8", "--device", "cpu", "--ensemble", "1"]


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    x = rng.normal(size=300)
    click = rng.random(300) < 1 / (1 + np.exp(-x))
    buy = rng.random(300) < 0.4
    frame = pl.DataFrame({"x": x, "click": click.astype(int), "price": rng.normal(size=300)})
    frame = frame.with_columns(buy=pl.when(pl.Series(click)).then(pl.Series(buy).cast(pl.Int64)))
    frame.write_csv("log.csv")


@pytest.mark.usefixtures("log")
def test_fit_evaluate_and_predict_tell_both(capsys):
    fit = ["fit", "log.csv", "--targets", "click,buy", "--ignore", "price", *QUICK]
    assert run([*fit, "--out", "plain"]) == 0
    assert "note: target buy is labelled only where click is 1" in capsys.readouterr().err
    given = ["--given", "buy=click:doubly-robust"]
    assert run([*fit, *given, "--out", "answer"]) == 0
    assert "at random" not in capsys.readouterr().err
    assert run(["evaluate", "answer", "log.csv", "--json"]) == 0
    metrics = json.loads(capsys.readouterr().out)
    assert {"log-loss", "log-loss given click"} <= metrics["buy"].keys()
    assert run(["predict", "answer", "log.csv", "--out", "p.csv"]) == 0
    p = pl.read_csv("p.csv")
    np.testing.assert_allclose(p["click=1"] * p["buy|click"], p["buy=1"], atol=1e-6)


@pytest.mark.usefixtures("log")
def test_compare_measures_both(capsys):
    command = ["compare", "log.csv", "--targets", "buy,click", "--given", "buy=click"]
    few = ["--folds", "2", "--workers", "1", "--seeds", "1", "--network", "aitm"]
    assert run([*command, *few, *QUICK]) == 0
    results = pl.read_parquet("log-answer/results.parquet")
    found = results.filter((pl.col("task") == "buy") & (pl.col("metric") == "ROC-AUC given click"))
    assert {"joint", "separate", "constant"} <= {*found["recipe"]}
    assert run(["predict", "log-answer", "log.csv", "--out", "p.csv"]) == 0
    assert "buy|click" in pl.read_csv("p.csv").columns


@pytest.mark.parametrize(
    "given, message",
    [
        ("buy=clik", "'buy' is given 'clik', which is no target (did you mean 'click'?); name"),
        ("buy=buy", "task 'buy' can't be given itself"),
        ("buy=price", "'buy' given 'price' needs two binary targets, and 'price' is regression"),
        ("buy=click,click=buy", "targets are given each other in a circle: 'click' given 'buy' gi"),
        ("bye=click", "--given names 'bye', which is no target (did you mean 'buy'?)"),
    ],
)
@pytest.mark.usefixtures("log")
def test_what_is_no_chain_ends_in_one_line(given, message, capsys):
    assert run(["fit", "log.csv", "--targets", "click,buy,price", "--given", given, *QUICK]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error
    assert not Path("log-answer").exists()
