"""Means by ids against scikit-learn, what cross-fitting is for, and the linear model of a log."""

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, TargetEncoder

from jointrain import Task
from jointrain.baselines import BaselineModel, baseline_encoder, fit_baseline
from jointrain.baselines._id_means import IdMeans, class_outputs, cross_fitted
from jointrain.data import SupervisedTable
from jointrain.errors import InvalidInputError
from jointrain.system import array_file
from jointrain.system.stored_files import DamagedError
from jointrain.tables import fit_baseline_to


def one_way(values=300, rows=40, between=0.5, noise=1.5, seed=0):
    random = np.random.default_rng(seed)
    effect = between * random.normal(size=values)
    codes = np.repeat(np.arange(values), rows)
    return codes[:, None].astype(float), effect[codes] + noise * random.normal(size=len(codes))


def test_means_are_target_encoder_with_the_right_smoothing():
    codes, y = one_way()
    found = IdMeans.fit(codes, y[:, None], [0])
    # the truth is noise^2 / between^2 = 9
    groups = y.reshape(300, 40)
    within = groups.var(1, ddof=1).mean()
    smooth = within / (groups.mean(1).var(ddof=1) - within / 40)
    assert 7 < smooth < 11
    expected = TargetEncoder(smooth=smooth, target_type="continuous").fit(codes, y).encodings_[0]
    np.testing.assert_allclose(found.means[1:, 0], expected, rtol=1e-9)
    assert found.means[0, 0] == pytest.approx(y.mean())


def test_classes_of_uneven_counts_are_those_of_target_encoder():
    random = np.random.default_rng(1)
    codes = random.integers(50, size=2000) ** 2 // 50
    kind = (random.random(2000) * 3 * (0.5 + codes / 100)).astype(int)
    found = IdMeans.fit(codes[:, None].astype(float), class_outputs(kind, 3), [0])
    for output in range(3):
        # the smoothing that explains one mean must explain all
        indicator = (kind == output).astype(float)
        own, counts = found.means[1:, output], np.bincount(codes)
        code = int(counts.argmin() if counts.min() else np.flatnonzero(counts)[0])
        mean, of_code = indicator.mean(), indicator[codes == code].mean()
        smooth = counts[code] * (of_code - own[code]) / (own[code] - mean)
        encoder = TargetEncoder(smooth=smooth, target_type="continuous")
        encoder.fit(codes[:, None], indicator)
        np.testing.assert_allclose(own[encoder.categories_[0]], encoder.encodings_[0], atol=1e-9)


def test_whole_weights_are_rows_repeated():
    codes, y = one_way(values=20, rows=5)
    times = np.random.default_rng(0).integers(1, 4, size=len(y))
    weighted = IdMeans.fit(codes, y[:, None], [0], times.astype(float))
    repeated = IdMeans.fit(codes.repeat(times, 0), y.repeat(times)[:, None], [0])
    np.testing.assert_allclose(weighted.means, repeated.means)


def test_values_that_tell_nothing_are_drawn_to_the_mean():
    random = np.random.default_rng(3)
    codes, y = random.integers(500, size=(2000, 1)).astype(float), random.normal(size=(2000, 1))
    assert np.ptp(IdMeans.fit(codes, y, [0]).means) < 0.4 < np.ptp(y[:500])
    # of one row each, noise can't be told
    alone = IdMeans.fit(np.arange(2000.0)[:, None], y, [0]).means
    np.testing.assert_allclose(alone, y.mean(), atol=1e-6)


def test_rows_do_not_see_their_own_labels():
    random = np.random.default_rng(4)
    inputs = np.c_[
        random.normal(size=400), random.integers(60, size=400), random.integers(9, size=400)
    ]
    y = random.normal(size=(400, 1))
    numbers, means = cross_fitted(inputs, y, [1, 2], seed=7)
    assert numbers.shape == (400, 3)
    np.testing.assert_array_equal(numbers[:, 0], inputs[:, 0])
    for row in (0, 11, 399):
        other = y.copy()
        other[row] += 100
        moved = cross_fitted(inputs, other, [1, 2], seed=7)[0] != numbers
        assert not moved[row].any()
        assert moved.any()
    # a line on means of the very labels believes in noise
    y = y[:, 0]
    trusted, own = means.put_in(inputs)[:, 1:].sum(1), numbers[:, 1:].sum(1)
    assert np.corrcoef(trusted, y)[0, 1] > 0.15 > np.corrcoef(own, y)[0, 1]


def test_missing_and_unknown_codes_share_a_mean():
    codes, y = one_way(values=10, rows=50)
    codes[:50] = -1
    y[:50] += 20
    means = IdMeans.fit(codes, y[:, None], [0])
    found = means.put_in(np.array([[-1.0], [9.0], [10.0], [1e9], [-5.0]]))[:, 0]
    assert found[0] > 15 > 5 > found[1]
    np.testing.assert_array_equal(found[2:], found[0])


def make_log(rows=6000, users=600, items=80, seed=0):
    random = np.random.default_rng(seed)
    user, item = random.integers(users, size=rows), random.integers(items, size=rows)
    score = 1.5 * random.normal(size=users)[user] + random.normal(size=items)[item]
    chance = 1 / (1 + np.exp(-score))
    frame = pl.DataFrame(
        {
            "user": [f"u{number}" for number in user],
            "item": [f"i{number}" for number in item],
            "price": random.normal(size=rows),
            "click": np.where(random.random(rows) < chance, "yes", "no"),
        }
    )
    return frame, chance


def test_linear_ranks_a_log_better_than_with_the_most_frequent_ids(tmp_path):
    frame, chance = make_log()
    train, test = frame[:4500], frame[4500:]
    model = fit_baseline_to("linear", SupervisedTable.prepare(train, ["click"]), 0)
    yes = (test["click"] == "yes").to_numpy()
    area = roc_auc_score(yes, model.predict(test)["click"])

    def area_by_hand(most):
        one_hot = OneHotEncoder(max_categories=most, handle_unknown="infrequent_if_exist")
        line = make_pipeline(one_hot, LogisticRegression(max_iter=1000))
        columns = ["user", "item"]
        line.fit(train[columns].to_pandas(), train["click"].to_numpy())
        return roc_auc_score(yes, line.predict_proba(test[columns].to_pandas())[:, 1])

    truth = roc_auc_score(yes, chance[4500:])
    assert truth > 0.83
    # before, it had 0/1 columns of the 100 most frequent ids
    assert area > area_by_hand(101) + 0.04
    # and it loses next to nothing against a column for each of the 680
    assert area > area_by_hand(None) - 0.01
    assert area < truth


@pytest.mark.parametrize(
    "task, labels",
    [
        (Task.regression("y"), lambda score: score),
        (Task.count("y"), lambda score: np.floor(np.exp(score))),
        (Task.multiclass("y", ["a", "b", "c"]), lambda score: np.digitize(score, [-0.5, 0.5])),
    ],
)
def test_all_kinds_learn_from_ids_and_are_saved(tmp_path, task, labels):
    random = np.random.default_rng(5)
    code = random.integers(120, size=3000)
    effect = random.normal(size=120)
    inputs = np.c_[random.normal(size=3000), code]
    y = labels(effect[code] + 0.3 * random.normal(size=3000)).astype(float)[:, None]
    model = fit_baseline("linear", inputs[:2000], y[:2000], [task], 0, codes=[1])
    found = model.predict(inputs[2000:])["y"]
    rank = found[:, 2] if task.kind == "multiclass" else found
    rank = np.log(rank) if task.kind == "count" else rank
    assert np.corrcoef(rank, effect[code[2000:]])[0, 1] > 0.75
    model.save(tmp_path)
    again = BaselineModel.load(tmp_path).predict(inputs[2000:])["y"]
    np.testing.assert_array_equal(again, found)


def test_quantiles_learn_from_ids():
    codes, y = one_way(values=60, rows=30, between=2.0, noise=0.5)
    task = Task.quantiles("y", (0.1, 0.9))
    found = fit_baseline("linear", codes, y[:, None], [task], 0, codes=[0]).predict(codes)["y"]
    inside = (y > found[:, 0]) & (y < found[:, 1])
    assert 0.7 < inside.mean() < 0.9
    assert np.ptp(y) > 2 * np.diff(found).mean()


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a.update({"0.id_places": np.array([7])}),
        lambda a: a.update({"0.id_places": np.array([1.0])}),
        lambda a: a.update({"0.id_starts": np.array([0, 3])}),
        lambda a: a.update({"0.id_means": a["0.id_means"] * np.nan}),
        lambda a: a.update({"0.id_means": a["0.id_means"][:, 0]}),
        lambda a: a.pop("0.id_starts"),
    ],
)
def test_damaged_means_are_refused(tmp_path, change):
    import hashlib
    import json

    codes, y = one_way(values=10, rows=20)
    inputs = np.c_[y * 0 + np.arange(len(y)), codes]
    fit_baseline("linear", inputs, y[:, None], [Task.regression("y")], 0, codes=[1]).save(tmp_path)
    file = tmp_path / "baseline.safetensors"
    arrays = dict(array_file.from_bytes(file.read_bytes())[1])
    change(arrays)
    file.write_bytes(array_file.to_bytes(arrays))
    described = json.loads((tmp_path / "baseline.json").read_text())
    described["digests"][file.name] = hashlib.sha256(file.read_bytes()).hexdigest()
    (tmp_path / "baseline.json").write_text(json.dumps(described))
    with pytest.raises(InvalidInputError, match="no whole baseline"):
        BaselineModel.load(tmp_path)


def test_places_and_starts_far_outside_are_refused():
    far, means = np.array([0, 2**62, -(2**63), -(2**62), 5]), np.zeros((5, 1))
    with pytest.raises(DamagedError, match="another number of inputs"):
        IdMeans(far, np.arange(6), means).width(9)
    with pytest.raises(DamagedError, match="do not fill their array"):
        IdMeans(np.arange(4), far, means).width(9)


def test_models_without_ids_are_saved_as_before(tmp_path):
    codes, y = one_way(values=10, rows=20)
    fit_baseline("linear", codes, y[:, None], [Task.regression("y")], 0).save(tmp_path)
    arrays = array_file.from_bytes((tmp_path / "baseline.safetensors").read_bytes())[1]
    assert {*arrays} == {"0.mean", "0.scale", "0.coefficients", "0.intercept"}


def test_the_encoder_says_which_inputs_are_codes():
    frame, _ = make_log(rows=2000)
    table = SupervisedTable.prepare(frame, ["click"])
    encoder = baseline_encoder("linear").fit(table.frame, list(table.columns), 0)
    names = [encoder.feature_names[place] for place in encoder.code_places]
    assert names == ["user code"]
