"""Bundles come back as they were saved, and loading one runs no foreign code."""

import dataclasses
import json
import pickle
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st

from jointrain import (
    InvalidInputError,
    Recipe,
    SupervisedTable,
    fit_table,
    load_bundle,
    load_penguins,
    save_bundle,
)
from jointrain.bundle import add_notes, describe_bundle, read_bundle
from jointrain.bundle._description import canonical, digest
from jointrain.cli import run
from jointrain.metrics import Metric
from jointrain.tables._calibration import Calibration
from jointrain.training import Alternating, MaskedFeatures, Phase, Phases, Separate


@pytest.fixture(scope="module", params=["separate", "alternating"])
def model(request):
    schedules = {"separate": Separate(), "alternating": Alternating("proportional")}
    table = SupervisedTable.prepare(load_penguins(), ["species", "sex", "body_mass_g"])
    recipe = Recipe(
        name=request.param, schedule=schedules[request.param], width=16, epochs=3,
        weights={"sex": 0.5},
    )  # fmt: skip
    return fit_table(table, recipe, seed=3)


def test_round_trip(model, tmp_path):
    path = save_bundle(
        model, tmp_path / "model", metrics={"sex": {"ROC-AUC": float("nan"), "log-loss": 0.5}}
    )
    again = load_bundle(path)
    assert again.tasks == model.tasks
    assert again.columns == model.columns
    assert again.recipe == model.recipe
    assert again.scaling == model.scaling
    assert again.calibration.temperatures == model.calibration.temperatures
    assert list(again.calibration.residuals) == ["body_mass_g"]
    assert again.seed == 3
    assert [part.tasks for part in again.parts] == [part.tasks for part in model.parts]
    before, after = model.predict(load_penguins()), again.predict(load_penguins())
    for task in before:
        np.testing.assert_array_equal(before[task], after[task])
    before, after = (m.predict_interval(load_penguins(), 0.7) for m in (model, again))
    np.testing.assert_array_equal(before["body_mass_g"], after["body_mass_g"])
    assert describe_bundle(path)["metrics"] == {"sex": {"ROC-AUC": None, "log-loss": 0.5}}


def test_model_and_description_are_read_at_once(model, tmp_path):
    path = save_bundle(model, tmp_path / "model", notes={"id": "row"})
    opened = read_bundle(path)
    assert opened.description == describe_bundle(path)
    assert opened.description["notes"] == {"id": "row"}
    assert opened.model.tasks == model.tasks


def test_networks_trained_under_another_default_of_input_dropout_are_read(tmp_path):
    table = SupervisedTable.prepare(load_penguins(), ["species", "sex"])
    trained = fit_table(table, Recipe(width=8, epochs=2, input_dropout=0.3), seed=0)
    path = save_bundle(trained, tmp_path / "before")
    content = json.loads((path / "bundle.json").read_text())
    del content["digest"], content["input_dropout"]
    content["recipe"]["input_dropout"] = None
    content["digest"] = digest(canonical(content))
    (path / "bundle.json").write_text(json.dumps(content))

    again = load_bundle(path)
    assert again.recipe.input_dropout == 0.3
    twice = load_bundle(save_bundle(again, tmp_path / "again"))
    for name, expected in trained.predict(table.frame).items():
        assert np.array_equal(again.predict(table.frame)[name], expected)
        assert np.array_equal(twice.predict(table.frame)[name], expected)

    path = save_bundle(fit_table(table, Recipe(width=8, epochs=2)), tmp_path / "now")
    assert describe_bundle(path)["input_dropout"] == 0.0
    assert load_bundle(path).recipe.input_dropout is None


def test_a_bundle_without_calibration(model, tmp_path):
    path = save_bundle(dataclasses.replace(model, calibration=Calibration()), tmp_path / "model")
    again = load_bundle(path)
    assert again.predict(load_penguins())["species"].shape == (344, 3)
    with pytest.raises(InvalidInputError, match="no interval for task 'body_mass_g'"):
        again.predict_interval(load_penguins())


def test_the_metric_that_a_target_is_judged_by_goes_round(tmp_path):
    metrics = {"sex": "F0.5", "body_mass_g": "pinball-0.9"}
    table = SupervisedTable.prepare(load_penguins(), ["sex", "body_mass_g"], metrics=metrics)
    model = fit_table(table, Recipe(epochs=1, width=8))
    path = save_bundle(model, tmp_path / "model")
    again = load_bundle(path)
    assert again.tasks == model.tasks
    assert list(again.evaluate(load_penguins())["sex"]) == ["F0.5", "ROC-AUC", "log-loss"]
    # a metric of one's own is known to its own program alone
    own = dataclasses.replace(model.tasks[0], metrics=(Metric("mine", lambda p, y: 0.0, True),))
    other = dataclasses.replace(model, tasks=(own, model.tasks[1]))
    kept = load_bundle(save_bundle(other, tmp_path / "own"))
    assert kept.tasks[0].primary_metric.name == "ROC-AUC"


PHASES = Phases(
    [
        Phase(name="pretrain", epochs=2, pretraining=MaskedFeatures()),
        Phase(name="joint", epochs=3, schedule=Alternating("temperature", block=2)),
        Phase(name="fine-tune", epochs=2, each_task=True, tasks=("sex", "island")),
    ]
)


def test_networks_of_a_tasks_own_and_auxiliary_targets_go_round(tmp_path):
    table = SupervisedTable.prepare(load_penguins(), ["species", "sex", "island", "body_mass_g"])
    recipe = Recipe(schedule=PHASES, auxiliary="island", width=16, batch_size=64)
    model = fit_table(table, recipe, seed=3)
    assert [part.tasks for part in model.parts] == [
        ("sex",), ("island",), ("species", "body_mass_g"),
    ]  # fmt: skip
    # 2 + 3 epochs together, 2 each alone
    assert all(part.epochs[0] == 9 for part in model.parts)
    again = load_bundle(save_bundle(model, tmp_path / "model"))
    assert again.recipe == recipe
    frame = load_penguins().drop("island")
    before, after = model.predict(load_penguins()), again.predict(frame)
    assert list(before) == ["species", "sex", "body_mass_g"]
    for task in before:
        np.testing.assert_array_equal(before[task], after[task])
    assert "island" in again.predict(frame, auxiliary=True)
    assert "island" not in again.predict_table(frame).columns
    # the auxiliary target need not be there
    assert list(again.evaluate(frame)) == ["species", "sex", "body_mass_g"]
    assert not np.array_equal(
        again.parts[0].network.trunk[0].weight.detach(),
        again.parts[2].network.trunk[0].weight.detach(),
    )


def test_a_function_as_order_is_refused_and_nothing_is_written(tmp_path):
    table = SupervisedTable.prepare(load_penguins(), ["species", "sex"])
    recipe = Recipe(schedule=Alternating(lambda step: "sex"), epochs=1, width=8)
    model = fit_table(table, recipe)
    with pytest.raises(InvalidInputError, match=r"the order of Alternating\(\) is a function"):
        save_bundle(model, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def _nested(levels):
    content = []
    for _ in range(levels):
        content = [content]
    return content


def _not_saved(model, folder, message, **options):
    with pytest.raises(InvalidInputError, match=re.escape(message)) as caught:
        save_bundle(model, folder / "model", **options)
    assert str(caught.value).startswith("the model can't be saved: ")
    assert "\n" not in str(caught.value)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "notes, message",
    [
        ({"x": "a" * 100_000}, "bundle.json has more than 100,000 bytes"),
        ({"x": 2**64}, "bundle.json holds a number beyond 64 bits"),
        ({"x": "\ud800"}, "half a character"),
        ({1: 0, "1": 0}, "notes"),
        ({"x": object()}, "Unable to serialize"),
        ({"x": _nested(80)}, "bundle.json is nested too deeply"),
    ],
    ids=range(6),
)
def test_notes_that_could_not_be_loaded_are_not_saved(small, tmp_path, monkeypatch, notes, message):
    monkeypatch.setattr("jointrain.system.stored_files.LARGEST_JSON", 100_000)
    _not_saved(small, tmp_path, message, notes=notes)


def test_notes_that_could_not_be_loaded_are_not_added(small, tmp_path, monkeypatch):
    monkeypatch.setattr("jointrain.system.stored_files.LARGEST_JSON", 100_000)
    path = save_bundle(small, tmp_path / "model")
    before = (path / "bundle.json").read_bytes()
    with pytest.raises(InvalidInputError, match=r"can't be saved: bundle\.json has more than"):
        add_notes(path, {"x": "a" * 100_000})
    assert (path / "bundle.json").read_bytes() == before
    assert [*path.glob(".*")] == []


NOTES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(width=32) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(), inner, max_size=3)
        | st.dictionaries(st.integers(), inner, max_size=3)
    ),
    max_leaves=10,
)


@settings(max_examples=30, deadline=None)
@given(value=NOTES)
def test_what_is_saved_can_be_loaded(small, tmp_path_factory, value):
    folder = tmp_path_factory.mktemp("notes") / "model"
    try:
        save_bundle(small, folder, notes={"x": value})
    except InvalidInputError:
        assert not folder.exists()
        return
    assert load_bundle(folder).tasks == small.tasks
    text = json.dumps(value).replace("-Infinity", "null").replace("Infinity", "null")
    assert describe_bundle(folder)["notes"] == {"x": json.loads(text.replace("NaN", "null"))}


def test_a_table_of_too_many_columns_is_not_saved(small, tmp_path, monkeypatch):
    monkeypatch.setattr("jointrain.system.stored_files.LARGEST_JSON", 2000)
    _not_saved(small, tmp_path, "bundle.json has more than 2,000 bytes")
    monkeypatch.setattr("jointrain.system.stored_files.LARGEST_JSON", 200)
    with pytest.raises(
        InvalidInputError, match=r"encoder can't be saved: .* 200 bytes; give fewer"
    ):
        save_bundle(small, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["fit", "compare"])
def test_a_table_of_too_many_categories_is_refused_before_training(
    tmp_path, monkeypatch, capsys, command
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("jointrain.system.stored_files.LARGEST_JSON", 500)
    rows = pl.DataFrame({"x": [f"name {i % 60}" for i in range(600)], "y": range(600)})
    rows.write_csv("data.csv")
    assert run([command, "data.csv", "--targets", "y", "--out", "model"]) == 2
    assert "could not be saved: bundle.json has more than 500 bytes" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["data.csv"]


def test_a_description_that_is_too_large_with_spaces_is_saved_without(small, tmp_path, monkeypatch):
    size = (save_bundle(small, tmp_path / "spaces") / "bundle.json").stat().st_size
    monkeypatch.setattr("jointrain.system.stored_files.LARGEST_JSON", size - 1)
    path = save_bundle(small, tmp_path / "model")
    assert b"\n" not in (path / "bundle.json").read_bytes()[:-1]
    assert load_bundle(path).tasks == small.tasks


def test_weights_and_residuals_that_are_no_numbers_are_not_saved(tmp_path):
    table = SupervisedTable.prepare(load_penguins(), ["species", "body_mass_g"])
    model = fit_table(table, Recipe(width=8, epochs=1), seed=3)
    residuals = model.calibration.residuals["body_mass_g"]
    broken = dataclasses.replace(residuals, errors=residuals.errors * np.nan)
    calibration = Calibration({}, {"body_mass_g": broken})
    _not_saved(dataclasses.replace(model, calibration=calibration), tmp_path, "no number")
    next(model.parts[0].network.parameters()).data[0] = np.inf
    _not_saved(model, tmp_path, "hold a value that is no number")


def test_saving_twice_gives_the_same_bytes(model, tmp_path):
    one, two = save_bundle(model, tmp_path / "one"), save_bundle(model, tmp_path / "two")
    for name in ("bundle.json", "weights.safetensors", "encoder.safetensors"):
        assert (one / name).read_bytes() == (two / name).read_bytes()


def test_description_is_complete(model, tmp_path):
    content = describe_bundle(save_bundle(model, tmp_path / "model"))
    assert content["schema_version"] == 2
    assert content["table_schema"]["sex"]["kind"] == "text"
    assert [task["name"] for task in content["tasks"]] == ["species", "sex", "body_mass_g"]
    assert content["tasks"][2]["mean"] == pytest.approx(4201.75, abs=0.1)
    columns = {column["name"]: column for column in content["columns"]}
    assert set(columns["island"]["categories"]) >= {"Biscoe", "Dream", "Torgersen"}
    assert columns["bill_length_mm"]["dtype"]
    assert set(content["packages"]) >= {"jointrain", "torch"}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("release", ["0.0.1", "99.0"])
def test_the_packages_that_wrote_a_bundle_are_told_and_no_more(model, tmp_path, capfd, release):
    path = save_bundle(model, tmp_path / "model")
    content = json.loads((path / "bundle.json").read_text(encoding="utf-8"))
    content["packages"] = dict.fromkeys(content["packages"], release)
    del content["digest"]
    content["digest"] = digest(canonical(content))
    (path / "bundle.json").write_text(json.dumps(content), encoding="utf-8")
    rows = load_penguins().head(20)
    assert load_bundle(path).predict_table(rows).equals(model.predict_table(rows))
    assert capfd.readouterr() == ("", "")
    assert run(["inspect", str(path)]) == 0
    assert f"scikit-learn {release}" in " ".join(capfd.readouterr().out.split())


def test_predict_table_of_rows_with_missing_features(model):
    rows = pl.DataFrame(
        {
            "island": [None, "Atlantis"], "bill_length_mm": [None, 40.0],
            "bill_depth_mm": [None, 18], "flipper_length_mm": [None, 190], "year": [2007, None],
        }
    )  # fmt: skip
    predictions = model.predict_table(rows)
    assert len(predictions) == 2
    assert predictions.null_count().sum_horizontal().item() == 0


class _Bomb:
    def __reduce__(self):
        return (Path.touch, (Path("bomb-went-off"),))


def _rewritten(folder: Path) -> None:
    """Make the digests of a changed bundle right, as an attacker would."""
    import hashlib

    content = json.loads((folder / "bundle.json").read_text())
    content.pop("digest")
    for name in content["digests"]:
        content["digests"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=False).encode()
    content["digest"] = hashlib.sha256(canonical).hexdigest()
    (folder / "bundle.json").write_text(json.dumps(content))


@pytest.mark.parametrize("name", ["weights.safetensors", "encoder.safetensors"])
def test_a_strangers_pickle_is_never_run(model, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    folder = save_bundle(model, tmp_path / "model")
    (folder / name).write_bytes(pickle.dumps(_Bomb()))
    _rewritten(folder)
    with pytest.raises(InvalidInputError):
        load_bundle(folder)
    assert not Path("bomb-went-off").exists()


def test_a_description_with_absurd_sizes_is_refused(model, tmp_path):
    folder = save_bundle(model, tmp_path / "model")
    content = json.loads((folder / "bundle.json").read_text())
    content["inputs"] = 3
    (folder / "bundle.json").write_text(json.dumps(content))
    _rewritten(folder)
    with pytest.raises(InvalidInputError, match="damaged"):
        load_bundle(folder)


def test_a_bundle_without_a_schema_takes_types_as_they_are(model, tmp_path):
    path = save_bundle(model, tmp_path / "model")
    assert load_bundle(path).schema == model.schema
    content = json.loads((path / "bundle.json").read_text(encoding="utf-8"))
    del content["digest"], content["table_schema"]
    content["digest"] = digest(canonical(content))
    (path / "bundle.json").write_text(json.dumps(content), encoding="utf-8")
    old = load_bundle(path)
    assert old.schema is None
    np.testing.assert_array_equal(
        old.predict(load_penguins())["sex"], model.predict(load_penguins())["sex"]
    )


def _in_task(index, **values):
    return lambda content: content["tasks"][index].update(values)


def _in_recipe(**values):
    return lambda content: content["recipe"].update(values)


def _known_rows(rows, digests):
    reference = {"promises": {}, "constants": {}, "columns": {}}
    reference["known_rows"] = {"rows": rows, "digests": digests}
    return lambda content: content["notes"].update(reference=reference)


@pytest.mark.parametrize(
    "change, message",
    [
        (_in_task(0, temperature=0), "temperature: Input should be greater"),
        (_in_task(0, temperature=float("nan")), "holds NaN, which is no number"),
        (_in_task(2, temperature=1.5), "number 'body_mass_g' has a temperature"),
        (_in_task(2, mean=None), "task 'body_mass_g' has no mean"),
        (_in_task(2, deviation=1e300), "deviation: Input should be less"),
        (_in_task(0, classes=["a", "a", "b"]), "must differ from each other"),
        (_in_task(0, classes=["a"] * 100_000), "must differ from each other"),
        (_in_task(1, classes=["female", 1e-320]), "classes of several kinds"),
        (_in_task(1, classes=[1, 2.5]), "classes of several kinds"),
        (_in_task(1, name="species"), "task 'species' is named twice"),
        (_in_task(0, kind="sequence"), "of a kind that no table has"),
        (_in_recipe(width=10**8), "`width` must be at most 65,536"),
        (_in_recipe(width=65_536), "larger than its weights"),
        (_in_recipe(depth=10**7), "`depth` must be at most 256"),
        (_in_recipe(ensemble=10**9), "`ensemble` must be at most 1,024"),
        (_in_recipe(network="mmoe", network_options=[["experts", 10**9]]), "`experts` of network"),
        (_in_recipe(epochs=-1), "`epochs` must be at least 1"),
        (_in_recipe(auxiliary=["x"]), "names 'x', which is no task"),
        (lambda content: content.update(inputs=10**12), "differ in their number of inputs"),
        (lambda content: content["parts"][0].update(epochs=[-1, -5]), "epochs.0: Input should"),
        (lambda content: content["parts"].append(content["parts"][0]), "differ in number"),
        (lambda content: content["parts"][0].update(tasks=["x"]), "has no head for"),
        (lambda content: content["columns"].reverse(), "not those of the bundle"),
        (lambda content: content["columns"].append(content["columns"][0]), "is named twice"),
        (lambda content: content["notes"].update(id=["a"]), "notes: id: "),
        (lambda content: content["notes"].update(importance={"columns": [], "tasks": 3}), "notes"),
        (_known_rows(5, []), "notes: reference.known_rows.digests: List should have at least 1"),
        (
            _known_rows("x", ["a"]),
            "reference.known_rows.rows: Input should be a valid",
        ),
        (_known_rows(1, ["a", "b"]), "notes: reference.known_rows: there are more digests"),
        (lambda content: content.pop("seed"), "seed: Field required"),
        (
            lambda content: content.update(
                table_schema={str(i): {"kind": "number"} for i in range(2000)}
            ),
            "more columns are read than",
        ),
    ],
    ids=range(31),
)
def test_a_strangers_description_is_refused_in_one_line(tmp_path, small, change, message):
    folder = save_bundle(small, tmp_path / "model")
    content = json.loads((folder / "bundle.json").read_text())
    change(content)
    (folder / "bundle.json").write_text(json.dumps(content))
    _rewritten(folder)
    with pytest.raises(InvalidInputError, match=re.escape(message)) as caught:
        load_bundle(folder)
    assert "\n" not in str(caught.value)
    assert "is damaged" in str(caught.value)


def test_weights_that_are_no_numbers_are_refused(tmp_path, small):
    from safetensors.numpy import load, save

    folder = save_bundle(small, tmp_path / "model")
    weights = load((folder / "weights.safetensors").read_bytes())
    first = next(name for name, values in weights.items() if values.dtype == np.float32)
    weights[first] = np.full_like(weights[first], np.nan)
    (folder / "weights.safetensors").write_bytes(save(weights))
    _rewritten(folder)
    with pytest.raises(InvalidInputError, match="a value that is no number"):
        load_bundle(folder)
    weights[first] = np.full_like(weights[first], 3e38)
    (folder / "weights.safetensors").write_bytes(save(weights))
    _rewritten(folder)
    model = load_bundle(folder)
    for task, values in model.predict(load_penguins()).items():
        assert np.isfinite(values).all(), task


@pytest.fixture(scope="module")
def small():
    table = SupervisedTable.prepare(load_penguins(), ["species", "sex", "body_mass_g"])
    return fit_table(table, Recipe(width=8, epochs=1), seed=3)


def test_many_targets_whose_heads_are_one_tensor(tmp_path):
    random = np.random.default_rng(0)
    features = random.normal(size=(60, 3))
    columns = {f"x{place}": features[:, place] for place in range(3)}
    targets = {f"y{place}": features @ random.normal(size=3) for place in range(20)}
    table = SupervisedTable.prepare(pl.DataFrame(columns | targets), [*targets])
    model = fit_table(table, Recipe(width=8, epochs=2, ensemble=2))
    again = load_bundle(save_bundle(model, tmp_path / "model"))
    before, after = (one.predict(pl.DataFrame(columns)) for one in (model, again))
    for name in targets:
        np.testing.assert_array_equal(before[name], after[name])
