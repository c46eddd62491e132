"""Promises of a saved model: calibration, coverage, and the inner folds' choice."""

import numpy as np
import polars as pl
import pytest
import torch
from scipy.stats import binom
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss
from torchmetrics.functional.classification import multiclass_calibration_error


@pytest.fixture(scope="module")
def promises(benchmark_module):
    return benchmark_module("arena_promises")


@pytest.fixture(scope="module")
def scores(benchmark_module):
    return benchmark_module("arena_scores")


# --- probabilities ---


def drawn(rows=400, classes=3, seed=0):
    random = np.random.default_rng(seed)
    p = random.dirichlet(np.ones(classes), rows)
    return p, random.integers(0, classes, rows)


def test_the_calibration_error_is_that_of_torchmetrics(promises):
    p, labels = drawn()
    found = promises.calibration_error(*promises.top_labels(p, [0, 1, 2], labels.tolist()))
    expected = multiclass_calibration_error(torch.from_numpy(p), torch.from_numpy(labels), 3)
    assert found == pytest.approx(float(expected), abs=1e-6)


def test_the_bins_are_those_of_scikit_learn(promises):
    p, labels = drawn(rows=300)
    confidence, right = promises.top_labels(p, [0, 1, 2], labels.tolist())
    share, mean = calibration_curve(right, confidence, n_bins=15)
    counts = np.histogram(confidence, np.linspace(0, 1, 16))[0]
    expected = (counts[counts > 0] * abs(share - mean)).sum() / len(right)
    assert promises.calibration_error(confidence, right) == pytest.approx(expected)


def test_a_calibration_error_by_hand(promises):
    confidence = np.array([0.61, 0.65, 0.95, 0.99])
    right = np.array([True, False, True, True])
    # bins (0.6, 0.667], of 0.63 with a share of 0.5, and (0.933, 1], of 0.97 with all
    assert promises.calibration_error(confidence, right) == pytest.approx((0.13 + 0.03) / 2)


def test_rows_without_a_label_and_new_classes(promises):
    p = np.array([[0.8, 0.2], [0.3, 0.7], [0.4, 0.6]])
    confidence, right = promises.top_labels(p, ["a", "b"], ["a", None, "new"])
    np.testing.assert_array_equal(confidence, [0.8, 0.6])
    np.testing.assert_array_equal(right, [True, False])


def test_chance_is_that_of_the_binomial_distribution(promises):
    mean, most = promises.by_chance(np.full(40, 0.7), rounds=20_000)
    counts = np.arange(41)
    error, p = abs(counts / 40 - 0.7), binom.pmf(counts, 40, 0.7)
    assert mean == pytest.approx((error * p).sum(), rel=0.02)
    order = np.argsort(error)
    assert most == pytest.approx(error[order][np.searchsorted(np.cumsum(p[order]), 0.95)])


# --- intervals ---


def test_a_count_is_off_outside_the_central_part_of_the_binomial(promises):
    # of 100 at 0.9: 84 or more have 0.979 to their right, 83 or fewer 0.0206
    assert [promises.is_off(n, 100, 0.9) for n in (83, 84, 95, 96)] == [True, False, False, True]
    assert promises.off_by_chance(100, 0.9) == pytest.approx(
        binom.cdf(83, 100, 0.9) + binom.sf(95, 100, 0.9)
    )


def test_chance_counts_that_ends_come_from_few_errors(promises):
    from jointrain.tables._conformal import Residuals

    random = np.random.default_rng(0)
    off = []
    for _ in range(4000):
        errors = Residuals.of(np.zeros(60), random.normal(size=60))
        low, high = errors.bounds(0.9)
        new = random.normal(size=200)
        off.append(promises.is_off(int(((new >= low) & (new <= high)).sum()), 200, 0.9))
    expected = promises.off_by_chance(200, 0.9, 60)
    assert expected > 0.15
    assert np.mean(off) == pytest.approx(expected, abs=0.025)


def test_infinite_intervals_hold_all(promises):
    assert promises.off_by_chance(100, 0.9, 10) == 1.0
    assert promises.off_by_chance(20, 0.9, 10) == 0.0


# --- the blend ---


def made(kind, rows=30, seed=0):
    """Return a prediction, labels of training rows and of test rows, some of them missing."""
    random = np.random.default_rng(seed)
    if kind == "regression":
        train, truth = random.normal(size=50).tolist(), random.normal(size=rows).tolist()
        given = random.normal(size=rows)
    else:
        classes = ["a", "b", "c"]
        train = random.choice(classes[:2], 50).tolist()
        truth = random.choice(classes, rows).tolist()
        given = (random.dirichlet([1, 1], rows), classes[:2])
    train[3] = truth[5] = truth[6] = None
    return given, train, truth


@pytest.mark.parametrize("kind", ["regression", "multiclass"])
def test_the_losses_of_rows_make_up_the_errors_of_the_arena(promises, scores, kind):
    given, train, truth = made(kind)
    own, constant = promises.row_losses(given, kind, train, truth)
    assert np.isnan(own).nonzero()[0].tolist() == [5, 6]
    ratio = np.nansum(own) / np.nansum(constant)
    expected = scores.errors({"t": given}, {"t": kind}, {"t": train}, {"t": truth})["t"]
    assert (ratio**0.5 if kind == "regression" else ratio) == pytest.approx(expected)


def test_the_losses_of_classes_are_scikit_learns(promises):
    p, labels = drawn()
    own, _ = promises.row_losses((p, [0, 1, 2]), "multiclass", [0, 1, 2], labels.tolist())
    high = p.min(1) > 1e-3  # smaller ones are raised
    assert own[high].mean() == pytest.approx(log_loss(labels[high], p[high]))


def losses(promises, seeds=(1, 2)):
    found = []
    for kind in ("regression", "multiclass"):
        (given, train, truth), (other, *_) = made(kind), made(kind, seed=seeds[1])
        own, constant = promises.row_losses(given, kind, train, truth)
        second, _ = promises.row_losses(other, kind, train, truth)
        found.append((kind == "regression", own, second, constant))
    return found


def score(losses, place, rows):
    values = []
    for number, *of_rows in losses:
        ratio = np.nansum(of_rows[place][rows]) / np.nansum(of_rows[2][rows])
        values.append(ratio**0.5 if number else ratio)
    return np.mean(values)


@pytest.mark.parametrize("groups", [None, np.arange(30) // 3])
def test_the_interval_is_that_of_tables_of_resampled_rows(promises, groups):
    given = losses(promises)
    found = promises.ratio_of_scores(given, groups, rounds=100, seed=3)
    rows = np.arange(30)
    assert found.value == pytest.approx(score(given, 0, rows) / score(given, 1, rows))
    of = rows if groups is None else groups
    count = of.max() + 1
    drawn = np.random.default_rng(3).multinomial(count, np.full(count, 1 / count), size=100)
    ratios = []
    for times in drawn:
        taken = np.repeat(rows, times[of])
        ratios.append(score(given, 0, taken) / score(given, 1, taken))
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(ratios, [0.025, 0.975])))


def test_what_predicts_alike_has_a_ratio_of_one(promises):
    given = [(number, own, own, constant) for number, own, _, constant in losses(promises)]
    found = promises.ratio_of_scores(given, rounds=50)
    assert (found.value, found.low, found.high) == pytest.approx((1, 1, 1))


# --- the report ---


def test_the_report_counts_what_is_off_and_what_is_worse(promises, benchmark_module, tmp_path):
    arena, tables = benchmark_module("arena"), benchmark_module("arena_tables")
    kept = benchmark_module("arena_kept")
    random = np.random.default_rng(0)
    y, c = random.normal(size=300), random.choice(["a", "b"], 300)
    table = tables.ArenaTable(
        "t",
        pl.DataFrame({"x": y, "z": -y}),
        pl.DataFrame({"y": y, "c": c}),
        {"y": "regression", "c": "binary"},
    )
    test = table.folds()[0][1]
    half = np.full((100, 2), 0.5)
    right = (np.stack([c[test] == "a", c[test] == "b"], axis=1) * 0.98 + 0.01, ["a", "b"])
    # 70 of 100 intervals hold
    ends = np.stack([y[test] - 1, y[test] + np.where(np.arange(100) < 70, 1, -0.5)], axis=1)
    one = kept.Kept(
        {"y": y[test] * 0.5, "c": (half, ["a", "b"])},
        {"y": ends},
        {"y": 200},
        "trees",
        {"y": y[test] * 0.75, "c": right},
        {"y": y[test] * 0.5, "c": (half, ["a", "b"])},
    )
    one.write(tmp_path, "t", promises.METHOD, 0)
    runs = {
        ("t", name, 0): arena.Run("t", name, 0, "done", {"y": error, "c": error}, 1.0, 1.0)
        for name, error in ((promises.METHOD, 0.6), ("ridge", 0.5))
    }
    text = promises.report(runs, {"t": table}, tmp_path)
    assert "| t | 1 | 100 | 70.0% | y | off |" in text
    assert "Off: 1 of 1 targets" in text
    assert "| t, fold 0 | trees | " in text
    assert "Fitted alone: " in text
    assert "Worse by over 1 % on 1 of 1" in text
    alike = text.split("As a component: ")[1]
    assert alike.startswith("geometric mean 1.000. Worse by over 1 % on 0 of 1")
    assert "above 1.05: 1" in text
    assert "| ridge | 1.00 | 1.200 | 0 |" in text
    # the constant's probabilities are 0.5, as they should be
    assert "Off: 0 of 1 targets; 0.1 by chance" in text
