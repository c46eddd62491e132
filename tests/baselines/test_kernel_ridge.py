"""Kernel ridge regression is scikit-learn's, with a kernel and penalties by rows left out."""

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, Matern
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.preprocessing import StandardScaler

from jointrain import InvalidInputError
from jointrain.baselines import (
    BaselineModel,
    _kernel_ridge as kernels,
    as_baseline,
    check_predicts,
    fit_baseline,
)
from jointrain.task import Task

TASKS = [Task.regression("wave"), Task.regression("plane")]


def waves(rows: int = 60) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    x = random.normal(size=(rows, 3)) * [1, 10, 0.1] + [0, 5, 0]
    noise = random.normal(size=rows)
    return x, np.stack([100 + 7 * np.sin(2 * x[:, 0]), x[:, 1] + noise], axis=1)


def process(kind: str, factor: float, penalty: float) -> GaussianProcessRegressor:
    """The process whose mean is the function: exp(-r sqrt f) or exp(-f r^2)."""
    length = 1 / np.sqrt(factor)
    kernel = Matern(length, nu=0.5) if kind == "exponential" else RBF(length / np.sqrt(2))
    return GaussianProcessRegressor(kernel, alpha=penalty, optimizer=None)


def left_out_error(model: GaussianProcessRegressor, x: np.ndarray, y: np.ndarray) -> float:
    return float(np.mean((cross_val_predict(model, x, y, cv=LeaveOneOut()) - y) ** 2))


def test_is_the_mean_of_a_gaussian_process_chosen_by_rows_left_out(monkeypatch):
    monkeypatch.setattr(kernels, "PENALTIES", kernels.PENALTIES[::4])
    monkeypatch.setattr(kernels, "FACTORS", kernels.FACTORS[:2])
    x, y = waves(40)
    found = fit_baseline("kernel ridge", x[:30], y[:30], TASKS, 0).predict(x[30:])
    scaler, scales = StandardScaler().fit(x[:30]), StandardScaler().fit(y[:30])
    inputs, values = scaler.transform(x[:30]), scales.transform(y[:30])
    distances = ((inputs[:, None] - inputs) ** 2).sum(2)
    unit = np.median(distances[distances > 0])
    best = {}
    for kind in ("exponential", "gaussian"):
        for factor in kernels.FACTORS:
            errors = [
                [
                    left_out_error(process(kind, factor / unit, penalty), inputs, own)
                    for own in values.T
                ]
                for penalty in kernels.PENALTIES
            ]
            best[kind, factor / unit] = np.min(errors, axis=0).sum(), np.argmin(errors, axis=0)
    (kind, factor), (_, places) = min(best.items(), key=lambda item: item[1][0])
    expected = np.stack(
        [
            process(kind, factor, kernels.PENALTIES[place])
            .fit(inputs, own)
            .predict(scaler.transform(x[30:]))
            for place, own in zip(places, values.T, strict=True)
        ],
        axis=1,
    )
    expected = scales.inverse_transform(expected)
    for place, task in enumerate(TASKS):
        np.testing.assert_allclose(found[task.name], expected[:, place], rtol=1e-6)


def test_weights_are_repetitions():
    x, y = waves(30)
    weights = np.random.default_rng(1).integers(1, 4, size=30)
    repeated = np.repeat(np.arange(30), weights)
    options = {"inputs": x, "values": y, "targets": [0, 1], "seed": 0}
    weighted = kernels.fit_kernels(**options, weights=weights.astype(float))
    plain = kernels.fit_kernels(x[repeated], y[repeated], [0, 1], 0)
    np.testing.assert_allclose(weighted.mean, plain.mean)
    np.testing.assert_allclose(weighted.intercept, plain.intercept)
    # of the same kernel and penalties, the same function: a penalty is of the mean weight
    same = kernels.fit_kernels(**options, weights=7.0 * weights)
    np.testing.assert_allclose(same.predict(x), weighted.predict(x))


def test_drawn_centres_come_close_to_all(monkeypatch):
    x, y = waves(300)
    whole = kernels.fit_kernels(x, y, [0, 1], 0).predict(x)
    monkeypatch.setattr(kernels, "CENTRES", 150)
    monkeypatch.setattr(kernels, "_ROWS", 64)
    drawn = kernels.fit_kernels(x, y, [0, 1], 0)
    assert len(drawn.centres) == 150
    assert (np.abs(drawn.predict(x) - whole).std(0) < 0.1 * y.std(0)).all()


def test_missing_labels_constants_and_files(tmp_path):
    x, y = waves()
    y[:7, 0] = np.nan
    tasks = [*TASKS, Task.regression("same"), Task.count("visits")]
    labels = np.column_stack([y, np.full(60, 3.0), np.arange(60) % 5])
    model = fit_baseline("kernel ridge", x, labels, tasks, 0)
    found = model.predict(x)
    alone = fit_baseline("kernel ridge", x[7:], y[7:, :1], TASKS[:1], 0).predict(x)
    np.testing.assert_allclose(found["wave"], alone["wave"])
    assert (found["same"] == 3).all()
    assert found["visits"].min() >= 0
    model.save(tmp_path)
    again = BaselineModel.load(tmp_path).predict(x)
    assert all(np.array_equal(again[name], values) for name, values in found.items())


def test_classes_are_refused():
    with pytest.raises(InvalidInputError, match="some targets are classes"):
        check_predicts(as_baseline("kernel ridge"), [*TASKS, Task.binary("flag")])


def test_a_row_far_out_changes_no_other_row():
    x, y = waves()
    model = fit_baseline("kernel ridge", x, y, TASKS, 0)
    far = np.concatenate([x[:5] + 0.1, [[1e12, 0, 0]]])
    alone, beside = model.predict(far[:5]), model.predict(far)
    for name in alone:
        np.testing.assert_allclose(beside[name][:5], alone[name], rtol=1e-12)
