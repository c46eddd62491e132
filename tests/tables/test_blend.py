"""Blends: weights against other solvers, and a choice that holds on rows it has not seen."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.optimize import minimize

from jointrain import Task
from jointrain.tables._blend import (
    PULL,
    blend_predictions,
    blend_weights,
    blended,
    choose_blends,
)
from jointrain.tables._constants import left_out_constants

NUMBER = Task.regression("y")
BINARY = Task.binary("y", (0, 1))
THREE = Task.multiclass("y", (0, 1, 2))


def lowest_on_simplex(loss, count):
    """An independent solver: sequential quadratic programming."""
    found = minimize(
        loss,
        np.full(count, 1 / count),
        bounds=[(0, 1)] * count,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    return found.fun


@given(st.integers(0, 10_000), st.integers(2, 6), st.sampled_from([1e-3, 1.0, 1e4]))
@settings(max_examples=30, deadline=None)
def test_regression_weights_have_the_lowest_squared_error_of_the_simplex(seed, count, scale):
    generator = np.random.default_rng(seed)
    target = scale * generator.normal(size=60)
    errors = generator.normal(size=(60, count)) * generator.uniform(0.2, 2, size=count)
    stacked = target[:, None] + scale * (errors + generator.normal(size=(60, 1)) * 0.3)
    weights = blend_weights(NUMBER, stacked, target)
    assert (weights >= 0).all()
    assert weights.sum() == pytest.approx(1)

    def loss(w):
        return float((((stacked @ w - target) / scale) ** 2).mean())

    assert loss(weights) <= lowest_on_simplex(loss, count) * (1 + 1e-5)


@pytest.mark.parametrize("task", [BINARY, THREE])
def test_class_weights_have_the_lowest_log_loss_of_the_simplex(task):
    generator = np.random.default_rng(3)
    classes = len(task.classes)
    target = generator.integers(0, classes, 200).astype(float)
    logits = generator.normal(size=(200, 3, classes))
    logits[np.arange(200), :, target.astype(int)] += np.array([0.3, 1.0, 1.2])
    probabilities = np.exp(logits) / np.exp(logits).sum(2, keepdims=True)
    stacked = probabilities[:, :, 1] if classes == 2 else probabilities
    weights = blend_weights(task, stacked, target)

    def loss(w):
        return float(task.in_table.row_losses(blended(stacked, w), target).mean())

    assert weights.sum() == pytest.approx(1)
    assert loss(weights) <= lowest_on_simplex(loss, 3) + 1e-4


def test_row_losses_are_squared_error_and_negative_log_probability():
    squared = NUMBER.in_table.row_losses(np.array([1.0, 3.0]), np.array([1.0, 1.0]))
    np.testing.assert_allclose(squared, [0, 4])
    logs = BINARY.in_table.row_losses(np.array([0.25, 0.25]), np.array([1.0, 0.0]))
    np.testing.assert_allclose(logs, [-np.log(0.25), -np.log(0.75)])
    logs = THREE.in_table.row_losses(np.array([[0.2, 0.5, 0.3]]), np.array([2.0]))
    np.testing.assert_allclose(logs, [-np.log(0.3)])


def choose(tasks, predictions, labels, reference):
    """The blends beside the constants of the same rows."""
    constants = left_out_constants(tasks, labels, np.arange(len(labels)))
    return choose_blends(tasks, predictions, labels, reference, constants)


def choose_blend(task, predictions, target, reference):
    """The blend of the only task."""
    return choose([task], {task.name: predictions}, target[:, None], reference)[task.name]


def two_components(rows: int, better: float, seed: int = 0):
    """A reference with unit errors, and another component whose errors are `better` times that."""
    generator = np.random.default_rng(seed)
    target = generator.normal(size=rows) * 3
    return target, {
        "separate": target + generator.normal(size=rows),
        "joint": target + better * generator.normal(size=rows),
    }


def test_a_clear_gain_is_taken_with_weights_by_inverse_error():
    target, predictions = two_components(2000, 0.5)
    blend = choose_blend(NUMBER, predictions, target, "separate")
    # independent errors of variance 1 and 1/4: the best weights are 1/5 and 4/5
    assert blend.weights["joint"] == pytest.approx(0.8, abs=0.04)
    assert sum(blend.weights.values()) == pytest.approx(1)
    assert blend.change == pytest.approx(80, abs=5)


@pytest.mark.parametrize("outlier", [0.0, 6.0])
def test_a_few_rows_far_out_do_not_decide_alone(outlier):
    """By the plain mean, they would speak for a component that is worse on all others."""
    generator = np.random.default_rng(0)
    target = 4 * generator.normal(size=200)
    error = generator.normal(size=200)
    mine, other = error.copy(), 1.1 * error
    far = [7, 50, 120]
    mine[far], other[far] = outlier, 0.0
    predictions = {"y": {"mine": target + mine, "other": target + other}}
    blend = choose([NUMBER], predictions, target[:, None], "mine")["y"]
    assert blend.weights == {"mine": 1.0}
    assert blend.change == 0.0


def test_without_evidence_the_reference_is_kept():
    target, predictions = two_components(400, 20.0)
    blend = choose_blend(NUMBER, predictions, target, "separate")
    assert dict(blend.weights) == {"separate": 1.0}
    assert blend.change == 0


def test_equal_components_give_the_reference():
    target, predictions = two_components(100, 1.0)
    predictions["joint"] = predictions["separate"]
    assert dict(choose_blend(NUMBER, predictions, target, "separate").weights) == {"separate": 1.0}


@pytest.mark.parametrize("rows", [0, 1, 9])
def test_too_few_rows_give_the_reference(rows):
    target, predictions = two_components(rows, 0.1)
    assert dict(choose_blend(NUMBER, predictions, target, "separate").weights) == {"separate": 1.0}


def test_rows_without_a_label_have_no_say():
    target, predictions = two_components(300, 0.5)
    full = choose_blend(NUMBER, predictions, target, "separate")
    more = {
        name: np.concatenate([values, np.full(50, 1e6 if name == "joint" else 0.0)])
        for name, values in predictions.items()
    }
    labels = np.concatenate([target, np.full(50, np.nan)])
    assert choose_blend(NUMBER, more, labels, "separate") == full


def test_the_choice_does_not_hang_on_the_order_of_the_others():
    target, predictions = two_components(300, 0.5)
    turned = dict(reversed(predictions.items()))
    first = choose_blend(NUMBER, predictions, target, "separate")
    second = choose_blend(NUMBER, turned, target, "separate")
    assert dict(first.weights) == pytest.approx(dict(second.weights))


def test_unrelated_noise_costs_next_to_nothing():
    """Components that are the reference with noise of their own: it can't be beaten."""
    losses = []
    for seed in range(100):
        generator = np.random.default_rng(seed)
        target = 3 * generator.normal(size=1080)
        common = target + generator.normal(size=1080)
        predictions = {
            name: common + 0.5 * generator.normal(size=1080) * (name != "separate")
            for name in ("separate", "a", "b", "c")
        }
        seen = {name: values[:80] for name, values in predictions.items()}
        blend = choose_blend(NUMBER, seen, target[:80], "separate")
        fresh = blend_predictions(predictions, blend.weights)[80:]
        before = predictions["separate"][80:]
        losses.append(
            NUMBER.in_table.row_losses(fresh, target[80:]).mean()
            / NUMBER.in_table.row_losses(before, target[80:]).mean()
        )
    assert np.mean(losses) < 1.02
    assert np.max(losses) < 1.25


def test_weights_are_drawn_to_those_of_all_tasks_and_more_rows_resist():
    """Against an independent solver of the penalised problem."""
    generator = np.random.default_rng(4)
    common = np.array([0.2, 0.5, 0.3])
    for rows in (20, 2000):
        target = generator.normal(size=rows)
        stacked = target[:, None] + generator.normal(size=(rows, 3)) * np.array([0.4, 1.0, 1.2])
        errors = stacked - target[:, None]
        scale = (errors**2).sum(0).mean()

        def penalised(w, errors=errors, scale=scale):
            pull = PULL / len(errors) * scale * ((w - common) ** 2).sum()
            return float((((errors @ w) ** 2).sum() + pull) / scale)

        weights = blend_weights(NUMBER, stacked, target, common)
        assert penalised(weights) <= lowest_on_simplex(penalised, 3) * (1 + 1e-5)
        alone = blend_weights(NUMBER, stacked, target)
        assert np.abs(weights - common).sum() < np.abs(alone - common).sum()


def test_class_weights_with_common_ones_have_the_lowest_penalised_log_loss():
    generator = np.random.default_rng(5)
    target = generator.integers(0, 2, 150).astype(float)
    stacked = np.clip(target[:, None] + generator.normal(size=(150, 3)) * 0.6, 0.05, 0.95)
    common = np.array([0.1, 0.1, 0.8])

    def penalised(w):
        loss = BINARY.in_table.row_losses(blended(stacked, w), target).mean()
        return float(loss - PULL / 150 * (common * np.log(np.maximum(w, 1e-12))).sum())

    weights = blend_weights(BINARY, stacked, target, common)
    assert penalised(weights) <= lowest_on_simplex(penalised, 3) + 1e-4


def test_a_task_with_few_rows_takes_the_weights_of_the_others():
    generator = np.random.default_rng(6)
    tasks = [Task.regression(f"y{i}") for i in range(5)]
    labels = generator.normal(size=(300, 5))
    labels[15:, 4] = np.nan
    truth = np.nan_to_num(labels)
    predictions = {
        task.name: {
            "separate": truth[:, i] + generator.normal(size=300),
            "joint": truth[:, i] + 0.5 * generator.normal(size=300),
        }
        for i, task in enumerate(tasks)
    }
    blends = choose(tasks, predictions, labels, "separate")
    assert list(blends) == [task.name for task in tasks]
    assert blends["y4"].weights["joint"] == pytest.approx(0.8, abs=0.15)


def test_numbers_and_classes_have_common_weights_of_their_own():
    generator = np.random.default_rng(7)
    number, binary = Task.regression("n"), Task.binary("b", (0, 1))
    value, label = generator.normal(size=200), generator.integers(0, 2, 200).astype(float)
    predictions = {
        "n": {"separate": value + generator.normal(size=200), "joint": value + 0.01},
        "b": {"separate": np.clip(label, 0.1, 0.9), "joint": np.full(200, 0.5)},
    }
    blends = choose([number, binary], predictions, np.stack([value, label], 1), "separate")
    assert blends["n"].weights["joint"] > 0.95
    assert dict(blends["b"].weights) == {"separate": 1.0}


def test_probabilities_of_zero_have_a_finite_loss():
    target = np.array([0.0, 1.0] * 20)
    predictions = {"separate": np.full(40, 0.5), "sure": target.copy()}
    blend = choose_blend(BINARY, predictions, target, "separate")
    assert blend.weights["sure"] > 0.9
    assert np.isfinite(blend.change)


def test_blend_predictions_is_the_weighted_mean_of_those_with_a_weight():
    predictions = {"a": np.array([1.0, 2.0]), "b": np.array([3.0, 6.0]), "c": np.array([9.0, 9.0])}
    np.testing.assert_allclose(blend_predictions(predictions, {"b": 0.25, "a": 0.75}), [1.5, 3.0])


def test_a_model_that_is_no_better_than_a_constant_gives_way_to_it():
    generator = np.random.default_rng(8)
    target = generator.normal(size=60)
    predictions = {"separate": generator.normal(size=60)}
    blend = choose_blend(NUMBER, predictions, target, "separate")
    assert blend.weights == {"constant": 1.0}
    assert blend.change > 0
    better = choose_blend(NUMBER, {"separate": 0.5 * target + 0.1}, target, "separate")
    assert better.weights == {"separate": 1.0}
    # too few rows for weights still tell whether a model beats the constant
    few = choose_blend(NUMBER, {"separate": -target[:4]}, target[:4], "separate")
    assert few.weights == {"constant": 1.0}
    label = (target > 0).astype(float)
    sure = choose_blend(BINARY, {"separate": generator.random(60)}, label, "separate")
    assert sure.weights == {"constant": 1.0}


def test_a_rare_class_that_is_ranked_well_is_predicted():
    """21 of 215 rows, ROC-AUC 0.8 in the mean: the true chances are better than a constant."""
    taken = []
    for seed in range(40):
        generator = np.random.default_rng(seed)
        label = np.zeros(215)
        label[:21] = 1.0
        score = generator.normal(size=215) + 1.2 * label
        odds = 21 / 194 * np.exp(1.2 * score - 0.72)
        found = choose_blend(BINARY, {"separate": odds / (1 + odds)}, label, "separate")
        taken.append(found.weights == {"separate": 1.0})
    assert np.mean(taken) > 0.9


@pytest.mark.parametrize("task", [NUMBER, BINARY])
def test_predictions_of_noise_are_rarely_taken_for_more(task):
    taken = []
    for seed in range(100):
        generator = np.random.default_rng(seed)
        target = generator.normal(size=100)
        spread = 0.05 * generator.normal(size=100)
        if task is BINARY:
            target = (target > 0).astype(float)
            spread += target.mean()
        found = choose_blend(task, {"separate": spread}, target, "separate")
        taken.append(found.weights != {"constant": 1.0})
    assert np.mean(taken) <= 0.06


def test_one_row_far_out_is_enough_to_be_worse_than_a_constant():
    """The metrics are plain means: whoever ships the model is judged by them."""
    generator = np.random.default_rng(9)
    target = generator.normal(size=100)
    prediction = target + 0.1 * generator.normal(size=100)
    prediction[3] = 50
    assert choose_blend(NUMBER, {"separate": prediction}, target, "separate").weights == {
        "constant": 1.0
    }


def test_of_each_family_the_best_has_an_even_share_on_few_rows():
    generator = np.random.default_rng(10)
    target = generator.normal(size=24)
    noise = {"separate": 0.5, "joint": 0.4, "line": 0.5, "forest": 0.4, "boosting": 1.5}
    predictions = {
        name: target + spread * generator.normal(size=24) for name, spread in noise.items()
    }
    families = {"line": "line", "forest": "trees", "boosting": "trees"}
    constants = left_out_constants([NUMBER], target[:, None], np.arange(24))
    found = choose_blends(
        [NUMBER], {"y": predictions}, target[:, None], "separate", constants, families=families
    )["y"].weights
    assert "boosting" not in found
    assert min(found["line"], found["forest"], found.get("joint", 0.0)) > 0.1


def test_a_blend_gives_way_to_the_reference_beyond_chance_only():
    """The mean of two equal components is a little better, which 20 rows can't show."""
    kept = []
    for seed in range(40):
        generator = np.random.default_rng(seed)
        target, common = 3 * generator.normal(size=20), 0.9 * generator.normal(size=20)
        predictions = {
            name: target + common + 0.45 * generator.normal(size=20)
            for name in ("separate", "joint")
        }
        kept.append(len(choose_blend(NUMBER, predictions, target, "separate").weights) == 2)
    assert np.mean(kept) > 0.5


@pytest.mark.parametrize("signal", [0.0, 0.25])
def test_targets_that_tell_too_little_one_by_one_are_looked_at_together(signal):
    """Six of them with the same signal; on noise it is still taken for more rarely."""
    tasks = [Task.regression(f"y{i}") for i in range(6)]
    alone, together = [], []
    for seed in range(40):
        generator = np.random.default_rng(seed)
        labels = generator.normal(size=(60, 6))
        # the best predictions of this correlation; of noise, such as networks give
        spread = signal * np.sqrt(1 - signal**2) or 0.1
        found = signal**2 * labels + spread * generator.normal(size=(60, 6))
        predictions = {task.name: {"separate": found[:, i]} for i, task in enumerate(tasks)}
        blends = choose(tasks, predictions, labels, "separate")
        together += [blends[task.name].weights != {"constant": 1.0} for task in tasks]
        alone.append(
            choose_blend(tasks[0], predictions["y0"], labels[:, 0], "separate").weights
            != {"constant": 1.0}
        )
    if signal:
        assert np.mean(together) > np.mean(alone) + 0.1
    else:
        assert np.mean(together) <= 0.06
