"""Baselines against scikit-learn, CatBoost and LightGBM used directly, and their files."""

import json
import pickle
import sys

import numpy as np
import pytest
import safetensors.numpy
from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor
from sklearn.linear_model import PoissonRegressor

from jointrain.baselines import (
    BASELINES,
    JOINT,
    BaselineModel,
    fit_baseline,
    predict_with_baseline,
)
from jointrain.baselines._baseline import one_thread
from jointrain.errors import InvalidInputError, MissingDependencyError
from jointrain.task import Task

TASKS = (
    Task.regression("value"),
    Task.binary("flag", ("no", "yes")),
    Task.multiclass("kind", ("a", "b", "c", "d")),
)
FIRST = TASKS[:1]
# those of one target at a time, which classes and numbers can share
TOGETHER = {*JOINT, "kernel ridge"}
ALONE = tuple(name for name, one in BASELINES.items() if name not in TOGETHER and one.saved)
FITTED = tuple(name for name in ALONE if name != "constant")
QUICK = ("linear", "gradient boosting", "catboost", "lightgbm", "xgboost")


def _data(rows=120, seed=0):
    """Return inputs and labels; class d of the third task never occurs, a seventh is missing."""
    random = np.random.default_rng(seed)
    inputs = random.normal(size=(rows, 5)).astype(np.float32)
    labels = np.stack(
        [
            3 * inputs[:, 0] + 0.1 * random.normal(size=rows) + 10,
            inputs[:, 1] > 0,
            np.digitize(inputs[:, 2], [-0.5, 0.5]),
        ],
        axis=1,
    )
    labels[random.random(labels.shape) < 1 / 7] = np.nan
    return inputs, labels


def _package(name):
    if BASELINES[name].package is not None:
        pytest.importorskip(BASELINES[name].package)


@pytest.fixture(scope="module")
def fitted():
    """Return each baseline, fitted once."""
    models = {}

    def get(name):
        _package(name)
        if name not in models:
            models[name] = fit_baseline(name, *_data(), TASKS, seed=4)
        return models[name]

    return get


@pytest.mark.parametrize("name", ALONE)
def test_shapes_probabilities_and_skill(fitted, name):
    inputs, labels = _data(60, seed=1)
    found = fitted(name).predict(inputs)
    assert found["value"].shape == found["flag"].shape == (60,)
    assert found["kind"].shape == (60, 4)
    np.testing.assert_allclose(found["kind"].sum(1), 1)
    assert ((found["flag"] > 0) & (found["flag"] < 1)).mean() > 0.3
    assert found["value"].dtype == found["kind"].dtype == np.float64
    if name != "constant":
        known = np.isfinite(labels[:, 0])
        assert np.corrcoef(found["value"][known], labels[known, 0])[0, 1] > 0.85
        known = np.isfinite(labels[:, 1])
        assert ((found["flag"][known] > 0.5) == labels[known, 1]).mean() > 0.8
        assert (found["kind"][:, 3] == 0).all()


def test_constant_by_hand():
    labels = np.array([[1.0, 0, 2], [np.nan, 0, 2], [5.0, 1, np.nan]])
    found = predict_with_baseline("constant", np.eye(3), labels, np.zeros((2, 3)), TASKS, 0)
    np.testing.assert_allclose(found["value"], [3, 3])
    np.testing.assert_allclose(found["flag"], [2 / 5, 2 / 5])
    np.testing.assert_allclose(found["kind"], [[1 / 6, 1 / 6, 3 / 6, 1 / 6]] * 2)


def test_lightgbm_equals_its_own_classifier(fitted):
    lightgbm = pytest.importorskip("lightgbm")
    inputs, labels = _data()
    test = _data(30, seed=1)[0]
    known = np.isfinite(labels[:, 1])
    classifier = lightgbm.LGBMClassifier(
        random_state=4, deterministic=True, force_row_wise=True, n_jobs=1, verbosity=-1
    )
    classifier.fit(inputs[known], labels[known, 1])
    found = fitted("lightgbm").predict(test)["flag"]
    np.testing.assert_allclose(found, classifier.predict_proba(test)[:, 1], rtol=1e-12)


def test_catboost_equals_its_own_regressor(fitted):
    catboost = pytest.importorskip("catboost")
    inputs, labels = _data()
    test = _data(30, seed=1)[0]
    known = np.isfinite(labels[:, 0])
    regressor = catboost.CatBoostRegressor(
        random_seed=4, thread_count=1, verbose=False, allow_writing_files=False
    )
    regressor.fit(inputs[known], labels[known, 0])
    np.testing.assert_allclose(
        fitted("catboost").predict(test)["value"], regressor.predict(test), rtol=1e-12
    )


# kernel ridge is for numbers alone
@pytest.mark.parametrize("name", [name for name in BASELINES if name != "kernel ridge"])
def test_counts_and_ordered_classes(name, tmp_path):
    """Rates are those of the library's own Poisson model, ordered classes are classes."""
    _package(name)
    random = np.random.default_rng(1)
    inputs = random.normal(size=(150, 4)).astype(np.float32)
    visits = random.poisson(np.exp(inputs[:, 0] - 0.5))
    grade = np.digitize(inputs[:, 1] + random.normal(size=150), [-1, 1])
    tasks = [Task.count("visits"), Task.ordinal("grade", 3)]
    # a joint forest is of one kind
    tasks = [Task.count("visits"), Task.regression("value")] if name in JOINT else tasks
    labels = np.stack([visits, grade], axis=1).astype(float)
    model = fit_baseline(name, inputs, labels, tasks, seed=2)
    found = model.predict(inputs)
    rates = found["visits"]
    assert (rates >= 0).all()
    expected = {
        "constant": lambda: np.full(150, visits.mean()),
        "linear": lambda: _poisson_line(inputs.astype(np.float64), visits),
        "gradient boosting": lambda: (
            HistGradientBoostingRegressor(loss="poisson", random_state=2)
            .fit(inputs, visits)
            .predict(inputs)
        ),
        "extra trees": lambda: (
            ExtraTreesRegressor(random_state=2).fit(inputs, visits).predict(inputs)
        ),
        "lightgbm": lambda: _lightgbm_rates(inputs, visits),
        "catboost": lambda: _catboost_rates(inputs, visits),
    }
    if name in expected:
        np.testing.assert_allclose(rates, expected[name](), rtol=1e-6)
    if name not in JOINT:
        alike = Task.multiclass("grade", 3)
        other = fit_baseline(name, inputs, labels[:, 1:], [alike], seed=2)
        np.testing.assert_array_equal(found["grade"], other.predict(inputs)["grade"])
    model.save(tmp_path)
    again = BaselineModel.load(tmp_path)
    assert again.tasks == tuple(tasks)
    np.testing.assert_array_equal(again.predict(inputs)["visits"], rates)


def _poisson_line(inputs, target):
    scaled = (inputs - inputs.mean(0)) / inputs.std(0)
    line = PoissonRegressor(alpha=1 / len(target), max_iter=1000).fit(scaled, target)
    return line.predict(scaled)


def _lightgbm_rates(inputs, target):
    lightgbm = pytest.importorskip("lightgbm")
    settings = {"objective": "poisson", "verbosity": -1, "num_threads": 1, "seed": 2}
    settings |= {"deterministic": True, "force_row_wise": True}
    return lightgbm.train(settings, lightgbm.Dataset(inputs, target), 100).predict(inputs)


def _catboost_rates(inputs, target):
    catboost = pytest.importorskip("catboost")
    settings = {"loss_function": "Poisson", "random_seed": 2, "verbose": False, "thread_count": 1}
    model = catboost.CatBoost({**settings, "allow_writing_files": False}).fit(inputs, target)
    return model.predict(inputs, prediction_type="Exponent")


@pytest.mark.parametrize("name", FITTED)
def test_missing_labels_are_rows_left_out(name):
    _package(name)
    inputs, labels = _data(40)
    test = _data(10, seed=1)[0]
    found = predict_with_baseline(name, inputs, labels[:, 1:2], test, TASKS[1:2], 0)
    known = np.isfinite(labels[:, 1])
    alone = predict_with_baseline(name, inputs[known], labels[known, 1:2], test, TASKS[1:2], 0)
    np.testing.assert_array_equal(found["flag"], alone["flag"])


@pytest.mark.parametrize("name", FITTED)
@pytest.mark.parametrize("rows", [1, 2, 4])
def test_few_rows(name, rows):
    _package(name)
    inputs, labels = _data(200)
    whole = np.flatnonzero(np.isfinite(labels).all(1))[:rows]
    found = predict_with_baseline(name, inputs[whole], labels[whole], inputs[:3], TASKS, 0)
    assert all(np.isfinite(values).all() for values in found.values())
    np.testing.assert_allclose(found["kind"].sum(1), 1)


@pytest.mark.parametrize("name", FITTED)
def test_one_class_constant_targets_and_constant_inputs(name):
    _package(name)
    inputs, labels = _data(30)
    test = inputs[:3]
    same = np.tile([7.5, 1, 2], (8, 1))
    found = predict_with_baseline(name, inputs[:8], same, test, TASKS, 0)
    np.testing.assert_array_equal(found["value"], [7.5] * 3)
    np.testing.assert_allclose(found["flag"], 9 / 10)
    np.testing.assert_allclose(found["kind"][:, 2], 9 / 12)
    found = predict_with_baseline(name, np.ones((30, 5)), labels, test, TASKS, 0)
    np.testing.assert_allclose(found["value"], np.nanmean(labels[:, 0]))


@pytest.mark.parametrize("name", FITTED)
def test_a_class_of_one_row(name):
    _package(name)
    inputs, labels = _data(60)
    labels[:, 2] = 0
    labels[:4, 2] = [2, 3, 1, 1]
    found = predict_with_baseline(name, inputs, labels[:, 2:], inputs, TASKS[2:], 0)["kind"]
    assert found.shape == (60, 4)
    assert found[:, 0].mean() > 0.7


@pytest.mark.parametrize("name", ALONE)
def test_save_and_load_give_the_same_bits(fitted, name, tmp_path):
    model = fitted(name)
    model.save(tmp_path)
    again = BaselineModel.load(tmp_path)
    inputs = _data(50, seed=2)[0]
    before, after = model.predict(inputs), again.predict(inputs)
    assert again.tasks == TASKS
    for task in before:
        np.testing.assert_array_equal(before[task], after[task])


@pytest.mark.parametrize("name", ["random forest", "lightgbm"])
def test_the_same_seed_gives_the_same_files(name, tmp_path):
    _package(name)
    inputs, labels = _data(20)
    found = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        fit_baseline(name, inputs, labels[:, :1], FIRST, seed=1).save(folder)
        found.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert found[0] == found[1]


def test_files_do_not_depend_on_what_the_objects_of_a_process_share(fitted):
    models = {str(i): model.estimator for i, model in enumerate(fitted("linear").models)}
    estimator = BASELINES["linear"]
    elsewhere = {name: pickle.loads(pickle.dumps(model)) for name, model in models.items()}
    width = fitted("linear").inputs
    assert estimator.to_files(models, width) == estimator.to_files(elsewhere, width)


def test_the_number_of_threads_does_not_matter(fitted):
    from threadpoolctl import threadpool_info

    inputs = _data(20, seed=1)[0]
    before = threadpool_info()
    fitted("gradient boosting").predict(inputs)
    assert threadpool_info() == before
    with one_thread():
        assert all(library["num_threads"] == 1 for library in threadpool_info())


@pytest.mark.parametrize("name", QUICK)
def test_changed_files_are_refused(fitted, name, tmp_path):
    model = fitted(name)
    model.save(tmp_path)
    for path in sorted(tmp_path.iterdir()):
        whole = path.read_bytes()
        for damaged in (b"", whole[: len(whole) // 2], whole[:-1] + bytes([whole[-1] ^ 1])):
            path.write_bytes(damaged)
            if path.name == "baseline.json" and damaged and len(damaged) == len(whole):
                continue  # another white space at the end of JSON
            with pytest.raises(InvalidInputError, match="is no whole baseline"):
                BaselineModel.load(tmp_path)
        path.unlink()
        with pytest.raises(InvalidInputError, match=r"is no whole baseline.*can't be read"):
            BaselineModel.load(tmp_path)
        path.write_bytes(whole)
    BaselineModel.load(tmp_path)


def _redescribe(folder, change):
    """Change a saved model, and its digests with it, as a forger would."""
    import hashlib

    path = folder / "baseline.json"
    described = json.loads(path.read_text())
    change(described)
    described["digests"] = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in described["digests"]
        if (folder / name).is_file()
    }
    path.write_text(json.dumps(described))


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(inputs=7),
        lambda d: d.update(inputs="x"),
        lambda d: d["tasks"].pop(),
        lambda d: d["tasks"].insert(0, d["tasks"].pop()),
        lambda d: d["tasks"][1].update(present=[0, 5]),
        lambda d: d["tasks"][1].update(present=[1, 0]),
        lambda d: d["tasks"][2].update(present=[0, 1, 2, 3]),
        lambda d: d["tasks"][0].update(constant=[1.0, 2.0]),
        lambda d: d["tasks"][0].update(kind="binary"),
        lambda d: d.update(tasks=None),
        lambda d: d.pop("name"),
        lambda d: d["digests"].update({"../x": "0"}),
    ],
)
def test_a_forged_description_is_refused(fitted, change, tmp_path):
    fitted("linear").save(tmp_path)
    path = tmp_path / "baseline.json"
    described = json.loads(path.read_text())
    change(described)
    path.write_text(json.dumps(described))
    if described.get("tasks") and len(described["tasks"]) == 2:
        assert len(BaselineModel.load(tmp_path).tasks) == 2
        return
    with pytest.raises(InvalidInputError):
        BaselineModel.load(tmp_path)


@pytest.mark.parametrize("name", ["linear", "extra trees", "gradient boosting", "catboost"])
def test_a_file_of_another_kind_is_refused(fitted, name, tmp_path):
    fitted(name).save(tmp_path)
    for content in (b"", b"\x80\x04N.", safetensors.numpy.save({"0.other": np.zeros(3)})):
        (tmp_path / "baseline.safetensors").write_bytes(content)
        _redescribe(tmp_path, lambda described: None)
        with pytest.raises(InvalidInputError, match="is no whole baseline"):
            BaselineModel.load(tmp_path)


@pytest.mark.parametrize("name", ["extra trees", "gradient boosting", "lightgbm"])
def test_a_tree_that_points_outside_is_refused(name, tmp_path):
    inputs, labels = _data(120)
    model = fit_baseline(name, inputs, labels[:, :1], TASKS[:1], 0)
    model.save(tmp_path)
    arrays = safetensors.numpy.load((tmp_path / "baseline.safetensors").read_bytes())
    arrays["0.left"][0] = model.models[0].estimator.left[0] = 10_000
    (tmp_path / "baseline.safetensors").write_bytes(safetensors.numpy.save(arrays))
    _redescribe(tmp_path, lambda described: None)
    with pytest.raises(InvalidInputError, match="do not form a tree"):
        BaselineModel.load(tmp_path)
    with pytest.raises(ValueError, match="do not form a tree"):
        model.save(tmp_path)


def test_a_link_to_itself_is_refused(fitted, tmp_path):
    fitted("linear").save(tmp_path)
    file = tmp_path / "baseline.safetensors"
    file.unlink()
    try:
        file.symlink_to(file.name)
    except OSError:
        pytest.skip("this user may make no links here")
    with pytest.raises(InvalidInputError, match="is no whole baseline"):
        BaselineModel.load(tmp_path)


@pytest.mark.parametrize("present", [[0, 2**63], [2**64 - 1], [-(2**63), 1], ["a"], [[0], [1]], 3])
def test_class_numbers_that_are_none_are_refused(fitted, present, tmp_path):
    fitted("linear").save(tmp_path)
    _redescribe(tmp_path, lambda described: described["tasks"][1].update(present=present))
    with pytest.raises(InvalidInputError, match="is no whole baseline"):
        BaselineModel.load(tmp_path)


def test_unknown_names_and_wrong_shapes(fitted):
    inputs, labels = _data(20)
    with pytest.raises(InvalidInputError, match=r"no baseline 'extra tree'.*'extra trees'"):
        fit_baseline("extra tree", inputs, labels, TASKS, 0)
    with pytest.raises(InvalidInputError, match="fitted to 5 inputs, got an array of shape"):
        fitted("linear").predict(inputs[:, :3])
    labels[:, 1] = np.nan
    with pytest.raises(InvalidInputError, match="task 'flag' has no label"):
        fit_baseline("linear", inputs, labels, TASKS, 0)


@pytest.mark.parametrize("name", ["catboost", "lightgbm"])
def test_missing_package(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    inputs, labels = _data(20)
    with pytest.raises(MissingDependencyError, match=r"pip install 'jointrain\[boosting\]'"):
        fit_baseline(name, inputs, labels, TASKS, 0)


def test_no_rows_to_predict(fitted):
    found = fitted("linear").predict(np.zeros((0, 5)))
    assert {task: values.shape for task, values in found.items()} == {
        "value": (0,), "flag": (0,), "kind": (0, 4)
    }  # fmt: skip
