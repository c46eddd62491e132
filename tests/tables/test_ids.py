"""Models of tables with ids and bags: fitted, saved, read again, asked."""

import numpy as np
import polars as pl
import pytest
import torch

from jointrain import InvalidInputError, Recipe
from jointrain.bundle import load_bundle, save_bundle
from jointrain.data import SupervisedTable
from jointrain.tables import column_importance, fit_table
from jointrain.training import Phase, Phases
from jointrain.training.pretraining import Contrastive, Denoising, MaskedFeatures


def made_log(rows=1200, users=150, seed=0):
    random = np.random.default_rng(seed)
    user = random.integers(users, size=rows)
    bias = np.random.default_rng(9).normal(size=users)
    tags = np.array(["red|new", "red", "new|cheap", "cheap", "", "new"])[
        random.integers(6, size=rows)
    ]
    noise = random.normal(size=rows)
    return pl.DataFrame(
        {
            "user": [f"u{number}" for number in user],
            "age": random.integers(20, 70, size=rows),
            "tags": tags,
            "spent": 2 * bias[user] + 0.1 * noise,
            "liked": np.where(bias[user] + 0.3 * noise > 0, "yes", "no"),
        }
    )


@pytest.fixture(scope="module")
def table():
    return SupervisedTable.prepare(made_log(), ["spent", "liked"], said={"tags": "bag"})


RECIPE = Recipe(name="joint", epochs=30, width=32, ensemble=1, bins=0)


@pytest.fixture(scope="module")
def model(table):
    return fit_table(table, RECIPE, seed=0)


def test_what_is_told_by_users_is_learned(table, model):
    assert [column.kind for column in table.columns] == ["id", "numeric", "bag"]
    assert any("user (150 values)" in note for note in table.notes)
    test = made_log(400, seed=1)
    found = model.evaluate(test)
    # the users' means on the training rows explain 0.99 of the variance
    assert found["spent"]["R2"] > 0.8
    assert found["liked"]["ROC-AUC"] > 0.75


def test_unseen_values_get_a_vector_of_their_own(table, model):
    assert model.encoder.unseen(
        pl.DataFrame({"user": ["nobody"], "age": [30], "tags": ["odd"]})
    ) == {
        "user": 1,
        "tags": 1,
    }
    predictions = model.predict_table(
        pl.DataFrame({"user": ["nobody", None], "age": [30, 30], "tags": ["odd", None]})
    )
    # about the mean of all users
    assert abs(predictions["spent"][0]) < 1
    assert predictions["spent"].is_finite().all()


def test_a_bundle_predicts_the_same(table, model, tmp_path):
    loaded = load_bundle(save_bundle(model, tmp_path / "bundle"))
    test = made_log(50, seed=2).with_columns(user=pl.lit("nobody"))
    assert loaded.predict_table(test).equals(model.predict_table(test))
    assert loaded.columns == table.columns


def test_a_bundle_with_fewer_codes_than_vectors_is_refused(model, tmp_path):
    import json

    path = save_bundle(model, tmp_path / "bundle")
    block = next(block for block in model.encoder._blocks if block.kind == "id")
    block.vocabularies["user"].values.pop()
    try:
        model.encoder.save(path / "encoder.safetensors")
    finally:
        block.vocabularies["user"].values.append("u99")
    from jointrain.bundle._description import digest, with_digest

    content = json.loads((path / "bundle.json").read_text())
    del content["digest"]
    content["digests"]["encoder.safetensors"] = digest((path / "encoder.safetensors").read_bytes())
    (path / "bundle.json").write_bytes(with_digest(content))
    with pytest.raises(InvalidInputError, match="not those of the network that is described"):
        load_bundle(path)


def test_importance_names_the_ids(table, model):
    found = column_importance(model, made_log(300, seed=3), repeats=2)
    assert found.used("spent")[0] == "user"


def test_numbers_that_are_said_to_be_ids():
    log = made_log().with_columns(user_id=pl.col("user").str.slice(1).cast(pl.Int64)).drop("user")
    plain = SupervisedTable.prepare(log, ["spent"])
    assert any("look like ids" in note and "user_id" in note for note in plain.notes)
    said = SupervisedTable.prepare(log, ["spent"], said={"user_id": "category"})
    assert {c.name: c.kind for c in said.columns}["user_id"] == "id"
    model = fit_table(said, Recipe(name="joint", epochs=2, width=8, ensemble=1), seed=0)
    as_numbers = model.predict_table(log[:5])
    as_text = model.predict_table(log[:5].with_columns(pl.col("user_id").cast(pl.String)))
    assert as_numbers.equals(as_text)
    assert model.encoder.unseen(log) == {}


@pytest.mark.parametrize("objective", [MaskedFeatures(), Denoising(), Contrastive()])
def test_pretraining(table, objective):
    phases = Phases(
        [Phase(name="first", pretraining=objective, epochs=1), Phase(name="then", epochs=1)]
    )
    fitted = fit_table(table, Recipe(name="p", schedule=phases, width=8, ensemble=1), seed=0)
    assert np.isfinite(fitted.predict(table.frame)["spent"]).all()


def test_ids_alone_can_not_be_reconstructed(table):
    log = made_log().select("user", "spent", "liked")
    phases = Phases(
        [Phase(name="first", pretraining=MaskedFeatures(), epochs=1), Phase(name="then", epochs=1)]
    )
    only = SupervisedTable.prepare(log, ["spent", "liked"])
    with pytest.raises(InvalidInputError, match="pretrain with Contrastive"):
        fit_table(only, Recipe(name="p", schedule=phases, width=8, ensemble=1), seed=0)


@pytest.mark.parametrize("balancer", ["upgrad", "uncertainty", "famo"])
def test_balancers(table, balancer):
    fitted = fit_table(
        table, Recipe(name="b", balancer=balancer, epochs=1, width=8, ensemble=1), seed=0
    )
    assert np.isfinite(fitted.predict(table.frame)["spent"]).all()


def test_an_ensemble_is_trained_one_by_one(table):
    fitted = fit_table(table, Recipe(name="e", epochs=1, width=8, ensemble=3), seed=0)
    assert len(fitted.parts) == 3
    assert np.isfinite(fitted.predict(table.frame)["spent"]).all()


def test_they_are_not_stacked(model):
    from jointrain.data import TensorData
    from jointrain.training import Run, Trainer
    from jointrain.training.population import why_not_stacked

    trainer = Trainer(model.parts[0].network, model.tasks)
    targets = {task.name: torch.zeros(4) for task in model.tasks}
    run = Run(trainer, TensorData(torch.zeros(4, model.encoder.base_width), targets), None)
    assert why_not_stacked(run) == "its network has vectors of ids"


@pytest.mark.parametrize(
    "said, message",
    [
        ({"usr": "category"}, "column 'usr' is said to be category, but it is not in the table"),
        ({"spent": "category"}, "is said to be category, but it is target and no feature"),
        ({"user": "id"}, "known are category, text, bag"),
    ],
)
def test_what_can_not_be_said(said, message):
    with pytest.raises(InvalidInputError, match=message):
        SupervisedTable.prepare(made_log(), ["spent"], said=said)
