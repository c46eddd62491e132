"""`predict --preference`: one bundle, several trade-offs."""

import numpy as np
import polars as pl
import pytest

from jointrain import load_bundle
from jointrain.cli import run
from jointrain.errors import InvalidInputError

QUICK = ["--ensemble", "2", "--epochs", "2", "--width", "8", "--depth", "1", "--dropout", "0"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a table, a Pareto set of it, and a plain model."""
    folder = tmp_path_factory.mktemp("preference")
    x = np.random.default_rng(0).normal(size=(120, 3))
    columns = {f"x{i}": x[:, i] for i in range(3)}
    targets = {"a": x[:, 0] + x[:, 1], "b": np.where(x[:, 0] - x[:, 1] > 0, "yes", "no")}
    pl.DataFrame(columns | targets).write_csv(folder / "t.csv")
    fit = ["fit", str(folder / "t.csv"), "--targets", "a,b", *QUICK]
    rate = ["--learning-rate", "0.05", "--network-option", "rank=2"]
    assert run([*fit, "--network", "pareto-set", *rate, "--out", str(folder / "set")]) == 0
    assert run([*fit, "--out", str(folder / "plain")]) == 0
    return folder


@pytest.fixture(autouse=True)
def inside(folder, monkeypatch):
    monkeypatch.chdir(folder)


def predicted(*more):
    assert run(["predict", "set", "t.csv", "--out", "p.csv", "--force", *more]) == 0
    return pl.read_csv("p.csv")


def test_one_bundle_predicts_by_each_preference():
    plain, equal, a, b = (
        predicted(*more)
        for more in (
            [], ["--preference", "a=2,b=2"], ["--preference", "a=1,b=0"],
            ["--preference", "b=1,a=0"],
        )
    )  # fmt: skip
    assert plain.equals(equal)
    table = pl.read_csv("t.csv")
    assert not a.equals(b)
    errors = [(one["a"] - table["a"]).pow(2).mean() for one in (a, equal, b)]
    assert errors[0] < errors[2]
    model = load_bundle("set")
    found = model.predict(table, preference={"a": 1.0, "b": 0.0})
    np.testing.assert_allclose(found["a"], a["a"].to_numpy(), rtol=1e-9)


def test_intervals_are_said_to_be_those_of_equal_shares(capfd):
    predicted("--preference", "a=1,b=0", "--intervals", "0.8")
    assert "the intervals were measured with equal shares" in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    "model, preference, message",
    [
        ("set", "a=0,b=0", "the preference must have an entry above zero, got [0.0, 0.0]"),
        ("set", "a=-1,b=1", "the preference for 'a' must be a number of at least 0, got -1.0"),
        ("set", "a=1", "the preference lacks 'b'"),
        ("set", "a=1,b=1,c=1", "the preference has an entry for 'c'"),
        ("set", "a=much,b=1", "--preference must look like a=0.7,b=0.3"),
        ("set", "a", "--preference must look like a=0.7,b=0.3"),
        ("plain", "a=1,b=1", "the model has one trade-off between its targets"),
    ],
)
def test_what_is_no_preference_is_refused_in_one_line(model, preference, message, capfd):
    assert run(["predict", model, "t.csv", "--out", "-", "--preference", preference]) == 2
    said = capfd.readouterr().err.strip().splitlines()
    assert [line for line in said if line.startswith("error: ")] == said[-1:]
    assert message in said[-1]


def test_a_plain_model_has_no_preference():
    with pytest.raises(InvalidInputError, match="--network pareto-set"):
        load_bundle("plain").predict(pl.read_csv("t.csv"), preference={"a": 1.0, "b": 1.0})
