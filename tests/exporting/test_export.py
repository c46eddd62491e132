"""Exported models give what the models give."""

import json
from functools import cache
from importlib import import_module
from importlib.util import find_spec

import numpy as np
import polars as pl
import pytest
import torch

from jointrain import (
    Recipe,
    Study,
    SupervisedTable,
    fit_shipped,
    load_energy_efficiency,
    load_penguins,
)
from jointrain.baselines import BASELINES
from jointrain.bundle import load_bundle, save_bundle
from jointrain.errors import InvalidInputError
from jointrain.exporting import compare_exported, export_model
from jointrain.networks import NETWORKS
from jointrain.tables import BlendedModel, Calibration, fit_baseline_to, fit_table

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

CLOSE = 1e-5


@cache
def table(rows=300):
    random = np.random.default_rng(0)
    size, age = random.normal(50, 10, rows), random.integers(0, 90, rows)
    town = random.choice(["Bonn", "Köln", "Ulm", 'a, "b"', "true"], rows)
    frame = pl.DataFrame(
        {
            "size (m²)": size,
            "age": age,
            "garden": random.random(rows) < 0.5,
            "town": town,
            "price": 3 * size - age + 10 * (town == "Ulm") + random.normal(size=rows),
            "rooms": random.poisson(np.exp(size / 50)),
            "dear": np.where(size + random.normal(0, 5, rows) > 50, "yes", "no"),
            "style": random.choice(["old", "new", "odd"], rows),
        }
    )
    holes = {name: random.random(rows) < 0.1 for name in ("size (m²)", "garden", "town")}
    return frame.with_columns(
        pl.when(pl.Series(hole)).then(None).otherwise(pl.col(name)).alias(name)
        for name, hole in holes.items()
    )


TARGETS = ["price", "rooms", "dear", "style"]


@cache
def prepared():
    return SupervisedTable.prepare(table(), TARGETS, kinds={"rooms": "count"})


@cache
def fit_networks():
    recipe = Recipe(width=8, depth=2, epochs=3, ensemble=2, bins=None)
    return fit_table(prepared(), recipe, device="cpu")


NAMES = tuple(
    name
    for name, one in BASELINES.items()
    if one.package is None or find_spec(one.package)
    if one.saved  # what can't be saved is in no bundle
)
FEW = ("constant", "linear", "random forest")


def fitted(name, whole):
    """Return a baseline fitted to the targets that it can predict together."""
    one = BASELINES[name]
    kinds = (
        [task.name for task in whole.tasks],
        [task.name for task in whole.tasks if not task.has_classes],
        [task.name for task in whole.tasks if task.has_classes],
    )
    chosen = next(c for c in kinds if one.why_not([t for t in whole.tasks if t.name in c]) is None)
    return fit_baseline_to(name, whole.only(chosen), 0)


@cache
def blend(names=FEW, networks=True):
    components = {"joint": fit_networks()} if networks else {}
    components |= {name: fitted(name, prepared()) for name in names}
    weights = {}
    for task in TARGETS:
        own = [name for name, one in components.items() if task in [t.name for t in one.tasks]]
        weights[task] = {name: 1 / len(own) for name in own}
    calibration = Calibration(temperatures={"dear": 1.3, "style": 0.8}, residuals={})
    return BlendedModel(
        prepared().tasks, prepared().columns, components, weights, calibration, prepared().schema
    )


def rows(far=True):
    """Known rows, missing values, categories never seen, and numbers far out."""
    known = table()
    odd = pl.DataFrame(
        {
            "size (m²)": [None, 1e30, -1e200, 0.0] if far else [None, 90.0, 0.0, 1.0],
            "age": [None, 10**12 if far else 120, -5, 3],
            "garden": [None, True, False, True],
            "town": [None, "Rom", "Ulm", "TRUE"],
        },
        schema=known.select("size (m²)", "age", "garden", "town").schema,
    )
    return pl.concat([known.drop(TARGETS), odd])


@pytest.mark.parametrize(
    "made, codes",
    [
        (lambda: blend(networks=False), False),
        pytest.param(fit_networks, True, marks=pytest.mark.integration),
        pytest.param(blend, False, marks=pytest.mark.integration),
        pytest.param(lambda: blend(NAMES), True, marks=pytest.mark.integration),
    ],
    ids=["baselines", "networks by codes", "blend", "all baselines"],
)
def test_onnx_predicts_as_the_model(made, codes, tmp_path):
    inputs = export_model(made(), tmp_path / "model.onnx", codes=codes)
    # a line of logarithms has no number for what is far out
    found = compare_exported(
        made(), tmp_path / "model.onnx", inputs, rows(far=made is fit_networks)
    )
    assert set(found.difference) == set(TARGETS)
    assert max(found.difference.values()) < CLOSE


@pytest.mark.parametrize(
    "name", ["networks", "random forest", "extra trees", "gradient boosting", "lightgbm"]
)
def test_numbers_far_from_zero_are_kept(name, tmp_path):
    if name == "lightgbm":
        pytest.importorskip("lightgbm")
    x = np.random.default_rng(0).normal(size=200)
    frame = pl.DataFrame({"x": x, "y": 1.7e9 + 3 * x})
    whole = SupervisedTable.prepare(frame, ["y"])
    if name == "networks":
        recipe = Recipe(width=8, depth=2, epochs=1, ensemble=1)
        model = fit_table(whole, recipe, device="cpu")
    else:
        only = {name: fit_baseline_to(name, whole, 0)}
        model = BlendedModel(whole.tasks, whole.columns, only, {"y": {name: 1.0}})
    inputs = export_model(model, tmp_path / "model.onnx")
    found = compare_exported(model, tmp_path / "model.onnx", inputs, frame)
    assert found.difference["y"] < CLOSE


REAL = {
    "penguins": (load_penguins, ["species", "sex", "body_mass_g"]),
    "buildings": (load_energy_efficiency, ["heating_load", "cooling_load"]),
}


@cache
def real(name):
    load, targets = REAL[name]
    return SupervisedTable.prepare(load(), targets)


@pytest.mark.integration
@pytest.mark.parametrize("data", REAL)
@pytest.mark.parametrize("name", NAMES)
def test_each_baseline_on_real_rows(name, data, tmp_path):
    whole = real(data)
    one = BASELINES[name]
    if all(one.why_not([task]) is not None for task in whole.tasks):
        pytest.skip("it predicts none of these targets")
    baseline = fitted(name, whole)
    weights = {task.name: {name: 1.0} for task in baseline.tasks}
    model = BlendedModel(
        baseline.tasks, whole.columns, {name: baseline}, weights, schema=whole.schema
    )
    # from the folder, as it is shipped
    model = load_bundle(save_bundle(model, tmp_path / "model"))
    inputs = export_model(model, tmp_path / "model.onnx")
    found = compare_exported(model, tmp_path / "model.onnx", inputs, whole.frame)
    assert set(found.difference) == {task.name for task in baseline.tasks}
    assert found.rows > 300
    assert max(found.difference.values()) < CLOSE


@pytest.mark.integration
@pytest.mark.parametrize("data", REAL)
def test_what_a_study_ships_on_real_rows(data, tmp_path):
    study = Study(real(data), folds=2, seeds=1, baselines=("constant", "linear", "extra trees"))
    model = load_bundle(save_bundle(fit_shipped(study.run()), tmp_path / "model"))
    inputs = export_model(model, tmp_path / "model.onnx")
    found = compare_exported(model, tmp_path / "model.onnx", inputs, real(data).frame)
    assert max(found.difference.values()) < CLOSE


def test_torch_predicts_as_the_model(tmp_path):
    inputs = export_model(fit_networks(), tmp_path / "model.pt2", "torch-export")
    found = compare_exported(fit_networks(), tmp_path / "model.pt2", inputs, rows())
    assert max(found.difference.values()) < CLOSE


def test_no_row_is_on_another_side_of_a_threshold(tmp_path):
    # values that are thresholds, and their neighbours in single and in double precision
    trees = fit_baseline_to("gradient boosting", prepared().only(["price"]), 0)
    ensemble = trees.model.models[0].estimator
    model = BlendedModel(
        trees.tasks, prepared().columns, {"trees": trees}, {"price": {"trees": 1.0}},
        schema=prepared().schema,
    )  # fmt: skip
    place = trees.encoder.feature_names.index("size (m²)")
    at = ensemble.threshold[ensemble.feature == place][:200]
    near = np.concatenate([at, np.nextafter(at, np.inf), np.nextafter(at, -np.inf),
                           np.nextafter(at.astype(np.float32), np.float32(np.inf))])  # fmt: skip
    frame = pl.DataFrame({"size (m²)": near}).with_columns(
        age=pl.lit(3), garden=pl.lit(True), town=pl.lit("Ulm")
    )
    inputs = export_model(model, tmp_path / "model.onnx")
    found = compare_exported(model, tmp_path / "model.onnx", inputs, frame)
    assert found.difference["price"] < CLOSE


def test_a_file_tells_what_it_takes(tmp_path):
    import onnx

    export_model(blend(networks=False), tmp_path / "model.onnx")
    model = onnx.load(tmp_path / "model.onnx")
    told = json.loads({one.key: one.value for one in model.metadata_props}["jointrain"])
    assert told["inputs"] == {
        "size (m²)": "number", "age": "number", "garden": "boolean", "town": "category",
    }  # fmt: skip
    assert told["categories"] == {"town": ['a, "b"', "Bonn", "Köln", "Ulm", "true"]} or set(
        told["categories"]["town"]
    ) == {'a, "b"', "Bonn", "Köln", "Ulm", "true"}
    assert told["classes"]["dear"] == ["no", "yes"]
    assert [one.name for one in model.graph.output] == TARGETS


@pytest.mark.integration
def test_int8_is_smaller_and_near(tmp_path):
    wide = fit_table(
        prepared().only(["price", "dear"]),
        Recipe(width=128, depth=3, epochs=2, ensemble=1),
        device="cpu",
    )
    inputs = export_model(wide, tmp_path / "whole.onnx")
    export_model(wide, tmp_path / "small.onnx", quantize="int8")
    assert (tmp_path / "small.onnx").stat().st_size < 0.5 * (tmp_path / "whole.onnx").stat().st_size
    found = compare_exported(wide, tmp_path / "small.onnx", inputs, rows())
    assert CLOSE < max(found.difference.values()) < 0.2


@pytest.mark.parametrize(
    "format, quantize, what",
    [
        ("onx", None, r"must be one of onnx, torch-export, got 'onx' \(did you mean 'onnx'\?\)"),
        ("onnx", "int4", "must be int8"),
        ("torch-export", "int8", "onnx"),
    ],
)
def test_no_such_form(format, quantize, what, tmp_path):
    with pytest.raises(InvalidInputError, match=what):
        export_model(fit_networks(), tmp_path / "model", format, quantize=quantize)


def test_what_can_not_be_carried_is_named(tmp_path):
    with pytest.raises(InvalidInputError, match="component 'constant' is no network"):
        export_model(blend(), tmp_path / "model.pt2", "torch-export")
    frame = table().with_columns(note=pl.Series([f"some words {i} of a note" for i in range(300)]))
    noted = fit_table(
        SupervisedTable.prepare(frame, ["price"]), Recipe(width=4, epochs=1, ensemble=1)
    )
    with pytest.raises(InvalidInputError, match="column 'note' is text"):
        export_model(noted, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_columns_and_targets_may_have_the_names_of_inner_values(tmp_path):
    random = np.random.default_rng(0)
    frame = pl.DataFrame({name: random.normal(size=60) for name in ("a", "b", "y")})
    frame = frame.with_columns(kind=pl.Series(["s", "t", "u"] * 20))
    path = tmp_path / "model.onnx"

    def exported(frame, target):
        table = SupervisedTable.prepare(frame, [target])
        model = fit_table(table, Recipe(width=4, epochs=1, ensemble=1), device="cpu")
        inputs = export_model(model, path)
        found = compare_exported(model, path, inputs, frame)
        assert max(found.difference.values()) < CLOSE
        return import_module("onnx").load(path).graph

    graph = exported(frame, "y")
    inner = [name for node in graph.node for name in node.output if "/" not in name]
    inner += [constant.name for constant in graph.initializer if "/" not in constant.name]
    inner.remove("y")
    assert len(inner) > 9
    columns = {name: random.normal(size=60) for name in [*inner, "network_1/x", "network_2/x"]}
    exported(frame.with_columns(**columns), "y")
    for name in inner[:3]:
        exported(frame.rename({"y": name}), name)


@cache
def with_ids():
    random = np.random.default_rng(1)
    towns = [f"town {place}" for place in random.integers(0, 150, 300)]
    return table().with_columns(place=pl.Series(towns))


FORMATS = ("onnx", "torch-export")


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    "network",
    [
        "hard",
        "branch",
        "tabm",
        *(
            pytest.param(name, marks=pytest.mark.integration)
            for name in NETWORKS
            if name not in ("hard", "branch", "tabm")
        ),
    ],
)
def test_each_network_with_ids_predicts_as_the_model(network, format, tmp_path):
    if network == "tabm":
        pytest.importorskip("tabm")
    recipe = Recipe(network=network, width=8, depth=2, epochs=10, ensemble=2)
    model = fit_table(SupervisedTable.prepare(with_ids(), TARGETS), recipe, device="cpu")
    assert any(block.kind == "id" for block in model.encoder.blocks)
    inputs = export_model(model, tmp_path / "model", format)
    odd = with_ids().head(3).with_columns(place=pl.Series(["elsewhere", None, ""]))
    for frame in (pl.concat([with_ids(), odd]), odd.head(1)):
        found = compare_exported(model, tmp_path / "model", inputs, frame)
        assert max(found.difference.values()) < CLOSE


def test_the_exported_tree_is_the_learned_one(tmp_path):
    recipe = Recipe(network="branch", width=8, depth=2, epochs=1, ensemble=1)
    model = fit_table(prepared(), recipe, device="cpu")
    network = model.parts[0].network
    with torch.no_grad():
        for place, choice in enumerate(choice for row in network.choices for choice in row):
            choice.zero_()
            choice[place % len(choice)] = 1
    assert len(set(network.branches().values())) > 1
    inputs = export_model(model, tmp_path / "model.pt2", "torch-export")
    found = compare_exported(model, tmp_path / "model.pt2", inputs, rows())
    assert max(found.difference.values()) < CLOSE


class Odd(torch.nn.Module):
    """A layer that looks at values: no exporter has a form for it."""

    def forward(self, inputs):
        return inputs * 2 if float(inputs.sum()) > 0 else inputs


@pytest.mark.parametrize("format", FORMATS)
def test_a_network_without_a_form_is_refused_in_one_line(format, tmp_path, capsys):
    model = fit_table(prepared(), Recipe(width=8, depth=2, epochs=1, ensemble=1), device="cpu")
    model.parts[0].network.put_first(Odd())
    with pytest.raises(InvalidInputError, match=r"the model has .* no form for") as caught:
        export_model(model, tmp_path / "model", format)
    assert str(caught.value).isprintable()
    assert capsys.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("format, place", [
    ("onnx", "onnx.checker.check_model"),
    ("onnx", "torch.onnx.export"),
    ("torch-export", "torch.export.export"),
    ("torch-export", "torch.export.save"),
])  # fmt: skip
def test_what_the_exporters_raise_becomes_one_line(format, place, tmp_path, monkeypatch):
    def fails(*_, **__):
        raise ValueError("\n\x1b[96mno\x1b[0m form\tof it\nmore")

    monkeypatch.setattr(place, fails)
    with pytest.raises(InvalidInputError, match=r"\(ValueError: no form of it\)") as caught:
        export_model(fit_networks(), tmp_path / "model", format)
    assert str(caught.value).isprintable()


def test_a_comparison_needs_a_row(tmp_path):
    inputs = export_model(blend(networks=False), tmp_path / "model.onnx")
    with pytest.raises(InvalidInputError, match="no rows"):
        compare_exported(
            blend(networks=False), tmp_path / "model.onnx", inputs, rows(far=False).head(0)
        )
