"""What a baseline keeps: predictions that fit the tasks, the same bits, arrays that are checked."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from jointrain.baselines import (
    AnyBaseline,
    BaselineModel,
    TargetBaseline,
    as_baseline,
    fit_baseline,
)
from jointrain.errors import InvalidInputError
from jointrain.task import Task

_NUMBERS = (Task.regression("price"), Task.regression("size"), Task.count("visits"))
_CLASSES = (
    Task.binary("flag", ("no", "yes")),
    Task.multiclass("kind", ("a", "b", "c")),
    Task.ordinal("grade", 3),
)


def check_baseline(baseline: AnyBaseline) -> None:
    """Check a baseline of one's own.

    Args:
        baseline: The object or its class, or an estimator with the interface of scikit-learn.

    Raises:
        AssertionError: It breaks what a baseline must keep.

    Examples:
        >>> from jointrain.baselines import BASELINES
        >>> check_baseline(BASELINES["linear"])
    """
    for name, check in BASELINE_CHECKS.items():
        try:
            check(baseline)
        except Exception as error:  # code of others may raise anything
            kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
            raise AssertionError(f"{name}: {kind}{error}") from error


def _data(tasks: tuple[Task, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs [n, 5] and labels [n, t], some missing."""
    random = np.random.default_rng(0)
    inputs = random.normal(size=(80, 5)).astype(np.float32)
    columns = {
        "price": 3 * inputs[:, 0] + 10,
        "size": np.exp(inputs[:, 1]),
        "flag": inputs[:, 1] > 0,
        "kind": np.digitize(inputs[:, 2], [-0.5, 0.5]),
        "visits": np.floor(np.exp(inputs[:, 2])),
        "grade": np.digitize(inputs[:, 3], [-0.5, 0.5]),
    }
    labels = np.stack([columns[task.name] for task in tasks], axis=1).astype(np.float64)
    labels[random.random(labels.shape) < 0.1] = np.nan
    return inputs, labels


def _fitted(baseline: AnyBaseline, tasks: tuple[Task, ...]) -> BaselineModel | None:
    made = as_baseline(baseline, "it")
    if made.why_not(tasks) is not None:
        return None
    return fit_baseline(made, *_data(tasks), tasks, seed=3)


def _all_fitted(baseline: AnyBaseline) -> list[BaselineModel]:
    found = [model for tasks in (_NUMBERS, _CLASSES) if (model := _fitted(baseline, tasks))]
    assert found, "it predicts neither numbers nor classes"
    return found


def _first_fitted(baseline: AnyBaseline) -> BaselineModel:
    model = _fitted(baseline, _NUMBERS) or _fitted(baseline, _CLASSES)
    assert model is not None, "it predicts neither numbers nor classes"
    return model


def _is_described(baseline: AnyBaseline) -> None:
    try:
        made = as_baseline(baseline, "it")
    except InvalidInputError as error:
        raise AssertionError(str(error)) from None
    assert made.name, "it has no name"
    assert type(made).summary(), "its class has no docstring"


def _predictions_fit(baseline: AnyBaseline) -> None:
    inputs = _data(_NUMBERS)[0][:7]
    for model in _all_fitted(baseline):
        for task in model.tasks:
            values = model.predict(inputs)[task.name]
            shape = (7, *task.in_table.prediction_shape())
            assert values.shape == shape, f"{task.name} has shape {values.shape}, not {shape}"
            assert np.isfinite(values).all(), f"{task.name} is {values}"
            if task.has_classes:
                assert values.min() >= 0, f"{task.name} has a probability below 0"
                assert values.max() <= 1 + 1e-9, f"{task.name} has a probability above 1"
            if task.in_table.objective == "poisson":
                assert values.min() >= 0, f"{task.name} has a rate below 0"
            if values.ndim == 2:
                assert np.allclose(values.sum(1), 1), f"{task.name}'s probabilities do not sum to 1"


def _seed_decides(baseline: AnyBaseline) -> None:
    inputs = _data(_NUMBERS)[0]
    one, other = (_first_fitted(baseline) for _ in range(2))
    again = other.predict(inputs)
    for name, values in one.predict(inputs).items():
        assert np.array_equal(values, again[name]), f"{name} differs for the same seed"


def _is_saved(baseline: AnyBaseline) -> None:
    inputs = _data(_NUMBERS)[0]
    model = _first_fitted(baseline)
    if not model.baseline.saved:
        return  # it is measured alone
    with tempfile.TemporaryDirectory() as folder:
        model.save(folder)
        for file in Path(folder).iterdir():
            assert file.suffix in (".json", ".safetensors"), f"{file.name} may run code"
        loaded = BaselineModel.load(folder, factories={model.stored_name: baseline})
    again = loaded.predict(inputs)
    for name, values in model.predict(inputs).items():
        assert np.array_equal(values, again[name]), f"{name} differs after loading"


def _arrays_are_checked(baseline: AnyBaseline) -> None:
    made = as_baseline(baseline, "it")
    if not isinstance(made, TargetBaseline) or not made.saved:
        return
    inputs, labels = _data(_NUMBERS[:1])
    known = np.isfinite(labels[:, 0])
    fitted = made.fit(inputs[known], labels[known, 0], 0, 3)
    if fitted is None:
        return
    assert isinstance(fitted, made.arrays), f"fit() gives {type(fitted)}, not {made.arrays}"
    arrays = fitted.to_arrays()
    for name, values in arrays.items():
        for damaged in ({**arrays, name: values[:0]}, {**arrays, name: values.astype(np.float16)}):
            try:
                made.arrays.from_arrays(damaged, inputs.shape[1])
            except (ValueError, IndexError):
                continue
            raise AssertionError(f"its arrays are read with {name!r} damaged; refuse it in _check")


def _weights_are_taken(baseline: AnyBaseline) -> None:
    made = as_baseline(baseline, "it")
    try:
        made.check_weights()
    except InvalidInputError:
        return  # it is refused where rows weigh
    for tasks in (_NUMBERS, _CLASSES):
        if made.why_not(tasks) is not None:
            continue
        inputs, labels = _data(tasks)
        weights = np.random.default_rng(1).lognormal(size=labels.shape)
        found = fit_baseline(made, inputs, labels, tasks, 3, weights).predict(inputs)
        for name, values in found.items():
            assert np.isfinite(values).all(), f"{name} is no number where rows weigh"


BASELINE_CHECKS: Mapping[str, Callable[[AnyBaseline], None]] = {
    "described": _is_described,
    "predictions fit the tasks": _predictions_fit,
    "the seed decides": _seed_decides,
    "weights are taken": _weights_are_taken,
    "saved as arrays and loaded": _is_saved,
    "damaged arrays are refused": _arrays_are_checked,
}
"""The checks of `check_baseline`; each takes a baseline or its class."""
