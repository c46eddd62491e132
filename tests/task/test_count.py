import numpy as np
import pytest
import torch
from scipy.stats import poisson
from sklearn.metrics import mean_absolute_error, mean_poisson_deviance, root_mean_squared_error

from jointrain import InvalidInputError, Task

TASK = Task.count("visits")
generator = np.random.default_rng(0)
LABELS = generator.poisson(3.0, 50).astype(float)
RATES = generator.gamma(3.0, 1.0, 50)


def test_the_loss_is_the_negative_log_likelihood_but_for_a_constant():
    logarithms = torch.from_numpy(np.log(RATES))[:, None]
    losses = TASK.unreduced_loss(logarithms, torch.from_numpy(LABELS)).numpy()
    expected = poisson.logpmf(LABELS, np.maximum(LABELS, 1e-300)) - poisson.logpmf(LABELS, RATES)
    np.testing.assert_allclose(losses, expected, atol=1e-10)
    assert (losses >= 0).all()


def test_predictions_are_rates():
    output = torch.tensor([[0.0], [-50.0], [2.0]], dtype=torch.float64)
    np.testing.assert_allclose(TASK.predict(output), np.exp([0.0, -50.0, 2.0]))


def test_metrics_are_those_of_scikit_learn():
    found = TASK.evaluate(torch.from_numpy(RATES), torch.from_numpy(LABELS))
    assert found == pytest.approx(
        {
            "Poisson deviance": mean_poisson_deviance(LABELS, RATES),
            "MAE": mean_absolute_error(LABELS, RATES),
            "RMSE": root_mean_squared_error(LABELS, RATES),
        }
    )
    assert TASK.primary_metric.name == "Poisson deviance"
    twice = 2 * TASK.in_table.row_losses(RATES, LABELS).mean()
    assert twice == pytest.approx(mean_poisson_deviance(LABELS, RATES))


def test_a_rate_of_nothing_has_a_finite_deviance():
    found = TASK.evaluate(torch.zeros(2), torch.tensor([0.0, 1.0]))
    assert 0 < found["Poisson deviance"] < 100


def test_a_mean_that_labels_are_divided_by_divides_slopes_alone():
    # 3 e^o is the rate of o where labels were divided by 3
    output = torch.tensor([[0.3], [-1.0]], dtype=torch.float64, requires_grad=True)
    target = torch.tensor([2.0, 5.0], dtype=torch.float64)
    (scaled,) = torch.autograd.grad(TASK.loss(output, target / 3), output)
    (plain,) = torch.autograd.grad(TASK.loss(output + np.log(3.0), target), output)
    torch.testing.assert_close(scaled, plain / 3)
    assert TASK.in_table.scaling(np.array([2.0, np.nan, 4.0])) == (0.0, 3.0)
    assert TASK.in_table.scaling(np.array([0.0, 0.0])) == (0.0, 1.0)


@pytest.mark.parametrize("wrong", [-1.0, 2.5])
def test_a_label_that_is_no_count_is_named_with_its_row(wrong):
    with pytest.raises(InvalidInputError, match=rf"'visits' holds {wrong:g} in row 3; counts are"):
        TASK.in_table.check_labels(np.array([1.0, np.nan, wrong, -7.0]))


def test_targets_of_tensors_may_have_fractions_but_no_sign():
    TASK.check_target(torch.tensor([0.5, float("nan"), 3.0]))
    TASK.check_target(torch.tensor([0, -100, 3]))
    with pytest.raises(InvalidInputError, match="holds -1, but must hold numbers of 0 or more"):
        TASK.check_target(torch.tensor([0.5, -1.0]))
