import numpy as np
import pytest
import torch
from scipy.stats import nbinom, poisson

from jointrain import InvalidInputError, Task

TASK = Task.negative_binomial("visits")
generator = np.random.default_rng(0)
RATES, SHAPES = generator.gamma(3.0, 2.0, 50), generator.gamma(2.0, 1.0, 50)
LABELS = generator.negative_binomial(SHAPES, SHAPES / (SHAPES + RATES)).astype(float)
LABELS[:2] = 0.0, 5000.0


def _output(rates, shapes):
    share = np.asarray(shapes) / 1e6
    return torch.from_numpy(np.stack([np.log(rates), np.log(share / (1 - share) * 1e6)], 1))


def test_the_loss_is_the_negative_log_likelihood():
    losses = TASK.unreduced_loss(_output(RATES, SHAPES), torch.from_numpy(LABELS)).numpy()
    expected = -nbinom.logpmf(LABELS, SHAPES, SHAPES / (SHAPES + RATES))
    np.testing.assert_allclose(losses, expected, rtol=1e-9)
    assert (losses >= 0).all()


def test_the_largest_shape_is_poisson():
    output = torch.tensor([[1.0, 60.0]] * 6)
    labels = np.arange(6.0)
    losses = TASK.unreduced_loss(output, torch.from_numpy(labels).float()).numpy()
    np.testing.assert_allclose(losses, -poisson.logpmf(labels, np.e), rtol=1e-5)


def test_predictions_are_rates_and_outputs_tell_deviations():
    output = _output(RATES, SHAPES)
    np.testing.assert_allclose(TASK.predict(output), RATES)
    expected = nbinom.std(SHAPES, SHAPES / (SHAPES + RATES))
    np.testing.assert_allclose(TASK.rules.deviation(output), expected)


def test_the_variance_of_members_is_that_of_their_mixture():
    outputs = _output(RATES[:12], SHAPES[:12]).reshape(4, 3, 2)
    rates, deviations = outputs[..., 0].exp(), TASK.rules.deviation(outputs)
    found = TASK.rules.deviation(TASK.rules.mean_output(outputs)).square()
    mixed = (deviations.square() + rates.square()).mean(1) - rates.mean(1).square()
    torch.testing.assert_close(found, mixed)


def test_an_exposure_multiplies_the_rate():
    exposure = np.arange(1.0, 51.0)
    target = torch.from_numpy(np.stack([LABELS, exposure], 1))
    losses = TASK.unreduced_loss(_output(RATES, SHAPES), target).numpy()
    mean = RATES * exposure
    expected = -nbinom.logpmf(LABELS, SHAPES, SHAPES / (SHAPES + mean))
    np.testing.assert_allclose(losses, expected, rtol=1e-9)
    TASK.check_target(target)
    found = TASK.evaluate(torch.from_numpy(RATES), target)
    assert found["MAE"] == pytest.approx(np.abs(LABELS / exposure - RATES).mean())
    # no exposure, no count, no loss
    assert TASK.unreduced_loss(torch.zeros(1, 2), torch.zeros(1, 2)).tolist() == [0.0]


def test_tables_learn_labels_as_they_are_with_their_mean_as_exposure():
    labels = np.array([2.0, np.nan, 4.0])
    scaling = TASK.in_table.scaling(labels)
    assert scaling == (0.0, 3.0)
    target = TASK.in_table.training_target(labels, scaling)
    np.testing.assert_array_equal(target, [[2, 3], [np.nan, 3], [4, 3]])
    assert TASK.labelled(torch.from_numpy(target)).tolist() == [True, False, True]
    assert [metric.name for metric in TASK.metrics] == ["Poisson deviance", "MAE", "RMSE"]


def test_extreme_outputs_have_finite_losses_and_slopes():
    values = torch.tensor([-80.0, -5.0, 0.0, 5.0, 80.0])
    output = torch.cartesian_prod(values, values).requires_grad_()
    for label in (0.0, 1.0, 1e6):
        losses = TASK.unreduced_loss(output, torch.full((25,), label))
        assert losses.isfinite().all()
        (slope,) = torch.autograd.grad(losses.sum(), output)
        assert slope.isfinite().all()


def test_bad_input_in_one_line():
    with pytest.raises(InvalidInputError, match="'visits' has 2 outputs, not 1; leave size out"):
        Task("visits", "negative-binomial", size=1)
    with pytest.raises(InvalidInputError, match="must hold numbers of 0 or more"):
        TASK.check_target(torch.tensor([2.0, -1.0]))
    with pytest.raises(InvalidInputError, match="must hold 1 value a row"):
        TASK.check_target(torch.zeros(4, 3))
    for wrong in (-1.0, 0.5):
        with pytest.raises(InvalidInputError, match="negative-binomial target 'visits' holds"):
            TASK.in_table.check_labels(np.array([2.0, wrong]))
