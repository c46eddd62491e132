"""`?preference=`: one served bundle, several trade-offs."""

import numpy as np
import polars as pl
import pytest

from jointrain import Recipe, SupervisedTable, load_bundle, save_bundle
from jointrain.serving import TableService, make_app
from jointrain.tables import fit_table
from tests.serving._models import model as plain_model

pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")
from fastapi.testclient import TestClient


@pytest.fixture(scope="module")
def frame():
    x = np.random.default_rng(0).normal(size=(80, 2))
    return pl.DataFrame({"x": x[:, 0], "y": x[:, 1], "a": x[:, 0], "b": -x[:, 0] + x[:, 1]})


@pytest.fixture(scope="module")
def model(frame, tmp_path_factory):
    recipe = Recipe(
        network="pareto-set", width=8, depth=1, epochs=20, dropout=0.0, ensemble=1,
    )  # fmt: skip
    fitted = fit_table(SupervisedTable.prepare(frame, ["a", "b"]), recipe, device="cpu")
    folder = tmp_path_factory.mktemp("set") / "bundle"
    save_bundle(fitted, folder)
    return load_bundle(folder)


@pytest.fixture(scope="module")
def client(model):
    with TestClient(make_app(TableService(model))) as client:
        yield client


def parameters(client):
    asked = client.get("/openapi.json").json()["paths"]["/predict"]["post"]
    return [one["name"] for one in asked["parameters"]]


def test_the_interface_says_that_a_preference_is_taken(client):
    assert parameters(client) == ["intervals", "preference"]


def asked(client, frame, query=""):
    rows = frame.select("x", "y").head(4).to_dicts()
    return client.post(f"/predict{query}", json={"rows": rows})


def test_a_request_names_the_trade_off(client, model, frame):
    plain = asked(client, frame).json()["predictions"]
    seen = []
    for preference in ({"a": 3.0, "b": 1.0}, {"a": 0.0, "b": 1.0}):
        said = ",".join(f"{name}={number}" for name, number in preference.items())
        answer = asked(client, frame, f"?preference={said}")
        assert answer.status_code == 200
        expected = model.predict(frame.head(4), preference=preference)
        found = pl.DataFrame(answer.json()["predictions"])
        for name in ("a", "b"):
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-6)
        seen.append(found)
    assert not seen[0].equals(seen[1])
    assert asked(client, frame).json()["predictions"] == plain
    even = asked(client, frame, "?preference=a=1,b=1").json()["predictions"]
    np.testing.assert_allclose(pl.DataFrame(even)["a"], pl.DataFrame(plain)["a"], rtol=1e-6)


def test_intervals_are_said_to_be_of_equal_shares(client, frame):
    answer = asked(client, frame, "?preference=a=1,b=0&intervals=0.8").json()
    assert "note: the intervals were measured with equal shares of all targets" in answer["notes"]


@pytest.mark.parametrize(
    "preference, message",
    [
        ("a=0,b=0", "must have an entry above zero"),
        ("a=-1,b=1", "the preference for 'a' must be a number of at least 0, got -1.0"),
        ("a=1", "the preference lacks 'b'"),
        ("a=1,b=1,c=1", "the preference has an entry for 'c'"),
        ("a=nan,b=1", "the preference for 'a' must be a number of at least 0"),
        ("much", "the preference must look like a=0.7,b=0.3"),
    ],
)
def test_what_is_no_preference_is_named(client, frame, preference, message):
    answer = asked(client, frame, f"?preference={preference}")
    assert answer.status_code == 422
    (fault,) = answer.json()["detail"]
    assert fault["loc"] == ["query", "preference"]
    assert message in fault["msg"]


def test_a_model_with_one_trade_off_says_so():
    from tests.serving._models import rows

    with TestClient(make_app(TableService(plain_model()))) as client:
        answer = client.post("/predict?preference=price=1,dear=1", json={"rows": rows(1)})
        assert parameters(client) == ["intervals"]
    assert answer.status_code == 422
    assert "the model has one trade-off" in answer.json()["detail"][0]["msg"]
