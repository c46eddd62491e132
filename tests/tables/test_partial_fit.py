"""A table's model can be trained on, one pass over each batch, as a trainer is by hand."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from jointrain import InvalidInputError, Recipe, TensorData, Trainer
from jointrain.data import SupervisedTable, TableEncoder
from jointrain.tables import PartialFit, fit_table
from jointrain.training import OptimizerSettings
from jointrain.training.sampling import Alternating, Separate, derived_seed

RECIPE = Recipe(width=8, depth=1, epochs=2, ensemble=1, bins=0, batch_size=16, dropout=0.2)


def table(rows: int = 64, seed: int = 0) -> SupervisedTable:
    generator = np.random.default_rng(seed)
    frame = pl.DataFrame({name: generator.normal(size=rows) for name in "abc"}).with_columns(
        price=3 * pl.col("a") + 50, sold=pl.col("b") > 0
    )
    return SupervisedTable.prepare(frame, ["price", "sold"], duplicates="apart")


def batches(whole: SupervisedTable, size: int) -> list[SupervisedTable]:
    frames = [whole.frame[i : i + size] for i in range(0, len(whole.frame), size)]
    return [replace(whole, frame=frame) for frame in frames]


@pytest.mark.parametrize("schedule", [None, Alternating()])
def test_passes_are_those_of_a_trainer(schedule):
    recipe = RECIPE if schedule is None else replace(RECIPE, schedule=schedule)
    parts = batches(table(), 32)
    partial = PartialFit.begin(parts[0], recipe, seed=3, device="cpu")
    for part in parts * 2:
        model = partial.train(part)
    price = parts[0].frame["price"].to_numpy()
    encoder = TableEncoder(0).fit(parts[0].frame, list(parts[0].columns), 3)
    torch.manual_seed(3)
    trainer = Trainer(
        recipe.make_network(3, model.tasks),
        model.tasks,
        schedule=recipe.schedule,
        optimizer=recipe.optimizer,
        batch_size=16,
        epochs=1,
        gradient_clip=recipe.gradient_clip,
        device="cpu",
    )
    for number, part in enumerate(parts * 2, start=1):
        frame = part.frame
        inputs = torch.from_numpy(encoder.transform(frame))
        numbers = (frame["price"].to_numpy() - price.mean()) / price.std()
        targets = {
            "price": torch.tensor(numbers, dtype=torch.float32),
            "sold": torch.tensor(frame["sold"].to_numpy().astype(np.float32)),
        }
        trainer.seed = derived_seed(3, f"pass {number}")
        trainer.fit(TensorData(inputs, targets))
    expected = trainer.network.state_dict()
    for name, weights in model.parts[0].network.state_dict().items():
        torch.testing.assert_close(weights, expected[name], rtol=1e-6, atol=1e-7)


def test_goes_on_from_a_fitted_model():
    whole = table()
    recipe = replace(RECIPE, ensemble=2, schedule=Separate())
    fitted = fit_table(whole, recipe, device="cpu")
    still = replace(
        fitted, recipe=replace(recipe, optimizer=OptimizerSettings(learning_rate=1e-12))
    )
    model = PartialFit(still, "cpu").train(whole)
    assert len(model.parts) == 4
    before, after = fitted.predict(whole.frame), model.predict(whole.frame)
    np.testing.assert_allclose(after["price"], before["price"], rtol=1e-6)
    np.testing.assert_allclose(after["sold"], before["sold"], rtol=1e-6)
    assert fitted.predict_interval(whole.frame)["price"].shape == (64, 2)
    with pytest.raises(InvalidInputError, match="no interval"):
        model.predict_interval(whole.frame)


def test_later_passes_leave_earlier_models_as_they_are():
    whole = table()
    partial = PartialFit.begin(whole, RECIPE, device="cpu")
    first = partial.train(whole)
    before = first.predict(whole.frame)["price"]
    second = partial.train(whole)
    np.testing.assert_array_equal(first.predict(whole.frame)["price"], before)
    assert not np.array_equal(second.predict(whole.frame)["price"], before)


@pytest.mark.parametrize("rule", ["difficulty", "gradients", "searched"])
def test_rules_that_need_other_runs_are_refused(rule):
    with pytest.raises(InvalidInputError, match=rule):
        PartialFit.begin(table(), replace(RECIPE, weights=rule), device="cpu")
