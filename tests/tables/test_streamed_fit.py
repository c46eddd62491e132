"""A model of a table larger than memory."""

import time

import numpy as np
import polars as pl
import pytest
import torch

from jointrain.bundle import load_bundle, save_bundle
from jointrain.data import StreamedTable, SupervisedTable, table_files
from jointrain.errors import InvalidInputError
from jointrain.experiments import Recipe
from jointrain.tables import TimeLimit, fit_streamed, fit_table
from jointrain.training import (
    Alternating,
    Callback,
    Checkpoints,
    Denoising,
    Phase,
    Phases,
    Separate,
)
from tests.data.streaming.tables import in_files, mixed_frame

RECIPE = Recipe(name="joint", epochs=2, width=16, depth=1, bins=4, batch_size=64)
TWO_PHASES = Phases([Phase(name="all", epochs=1), Phase(name="heads", epochs=1, freeze="trunk")])
PRETRAINED = Phases(
    [Phase(name="first", epochs=1, pretraining=Denoising()), Phase(name="then", epochs=1)]
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return in_files(mixed_frame(500), tmp_path_factory.mktemp("table") / "t", group_rows=70)


@pytest.fixture(scope="module")
def table(folder):
    return StreamedTable.prepare(table_files(folder), ["y", "z", "w"], id_column="row")


@pytest.fixture(scope="module")
def model(table):
    return fit_streamed(table, RECIPE, device="cpu")


def weights_of(model):
    return [value for part in model.parts for value in part.network.state_dict().values()]


def same(one, other):
    pairs = zip(weights_of(one), weights_of(other), strict=True)
    return all((a == b).all() for a, b in pairs)


def test_it_learns_as_well_as_in_memory(model):
    frame = mixed_frame(1000, seed=5)
    own = fit_table(
        SupervisedTable.prepare(
            mixed_frame(500), ["y", "z", "w"], id_column="row", duplicates="apart"
        ),
        RECIPE,
        device="cpu",
    )
    found, expected = model.evaluate(frame), own.evaluate(frame)
    assert found["y"]["RMSE"] == pytest.approx(expected["y"]["RMSE"], rel=0.15)
    assert found["z"]["ROC-AUC"] == pytest.approx(expected["z"]["ROC-AUC"], abs=0.06)


def test_it_is_saved_calibrated_and_loaded(model, tmp_path):
    save_bundle(model, tmp_path / "bundle")
    again = load_bundle(tmp_path / "bundle")
    frame = mixed_frame(50, seed=3)
    assert again.predict_table(frame, 0.9).equals(model.predict_table(frame, 0.9))
    assert model.calibration.residuals["y"].rows > 30
    assert model.recipe.ensemble == 1


def test_threads_of_torch_change_no_bit(table, model):
    torch.set_num_threads(3)
    assert same(fit_streamed(table, RECIPE, device="cpu"), model)


def test_a_fit_ends_with_its_time_and_keeps_the_best_weights(table):
    limit = TimeLimit(time.monotonic(), networks=3)
    recipe = Recipe(name="apart", epochs=50, width=8, bins=0, schedule=Separate())
    model = fit_streamed(table, recipe, device="cpu", callbacks=[limit])
    assert [made for made, _ in limit.cut] == [1, 1, 1]
    assert all(steps >= 50 for _, steps in limit.cut)
    assert [part.epochs for part in model.parts] == [(1, 1)] * 3
    assert all(bool(value.isfinite().all()) for value in weights_of(model))
    # time that is left is for all networks alike, and nothing is cut where there is enough
    enough = TimeLimit(time.monotonic() + 3600, networks=1)
    fit_streamed(table, RECIPE, device="cpu", callbacks=[enough])
    assert enough.cut == []


@pytest.mark.integration
def test_the_model_does_not_hang_on_names_of_files_or_on_threads(folder, tmp_path, model):
    for number, path in enumerate(sorted(folder.iterdir())):
        (tmp_path / f"{9 - number}.parquet").write_bytes(path.read_bytes())
    table = StreamedTable.prepare(table_files(tmp_path), ["y", "z", "w"], id_column="row")
    assert same(fit_streamed(table, RECIPE, device="cpu", workers=3), model)


def test_a_killed_run_goes_on_with_the_same_bits(table, tmp_path, model):
    class Kill(Exception):
        pass

    class Killer(Callback):
        def on_step_end(self, trainer, step, losses):
            if step == 9:
                raise Kill

    points = Checkpoints(tmp_path / "run", every=1)
    with pytest.raises(Kill):
        fit_streamed(table, RECIPE, device="cpu", callbacks=[Killer()], checkpoints=points)
    again = fit_streamed(table, RECIPE, device="cpu", checkpoints=points, resume=True, workers=0)
    assert same(again, model)


@pytest.mark.integration
@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(name="separate", schedule=Separate(), epochs=1, width=8),
        Recipe(name="alternating", schedule=Alternating(), epochs=1, width=8),
        Recipe(name="balanced", balancer="upgrad", epochs=1, width=8),
        Recipe(name="phases", schedule=TWO_PHASES, width=8),
        Recipe(name="size", weights="size", auxiliary=("w",), epochs=1, width=8),
    ],
    ids=lambda recipe: recipe.name,
)  # fmt: skip
def test_recipes_of_all_schedules(table, recipe):
    model = fit_streamed(table, recipe, device="cpu")
    found = model.predict(mixed_frame(30, seed=9))
    assert found.keys() == {"y", "z", "w"} - set(recipe.auxiliary)
    assert len(model.parts) == (3 if recipe.name == "separate" else 1)


def test_weights_of_rows_count(tmp_path):
    random = np.random.default_rng(0)
    x = random.normal(size=2000)
    heavy = random.random(2000) < 0.5
    frame = pl.DataFrame(
        {"x": x, "y": np.where(heavy, x, -x), "weight": np.where(heavy, 1.0, 0.01)}
    )
    files = table_files(in_files(frame, tmp_path / "t", group_rows=300))
    table = StreamedTable.prepare(files, ["y"], row_weight="weight")
    model = fit_streamed(table, Recipe(name="joint", epochs=5, width=16, bins=0), device="cpu")
    found = model.predict(pl.DataFrame({"x": [-1.0, 1.0]}))["y"]
    assert found[0] == pytest.approx(-1, abs=0.5)
    assert found[1] == pytest.approx(1, abs=0.5)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ensemble": 3}, "ensemble"),
        ({"weights": "searched"}, "further runs"),
        ({"schedule": PRETRAINED}, "pretrain"),
    ],
)  # fmt: skip
def test_recipes_that_need_all_rows_are_refused(table, changes, said):
    with pytest.raises(InvalidInputError, match=said):
        fit_streamed(table, Recipe(name="x", **changes), device="cpu")
