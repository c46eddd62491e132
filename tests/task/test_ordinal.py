import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.metrics import accuracy_score, cohen_kappa_score, mean_absolute_error

from jointrain import InvalidInputError, Task

TASK = Task.ordinal("grade", ["low", "medium", "high", "top"])
generator = np.random.default_rng(0)
OUTPUT = torch.from_numpy(generator.normal(size=(60, 3)) * 2)
LABELS = torch.from_numpy(generator.integers(0, 4, 60).astype(float))


def by_definition(output):
    """P(y <= k) is the logistic function of ordered thresholds."""
    gaps = np.log1p(np.exp(output[:, 1:]))
    thresholds = np.cumsum(np.concatenate([-output[:, :1], gaps], 1), 1)
    cumulative = np.concatenate([expit(thresholds), np.ones((len(output), 1))], 1)
    return np.diff(cumulative, axis=1, prepend=0)


def test_probabilities_are_differences_of_cumulative_ones():
    found = TASK.predict(OUTPUT)
    np.testing.assert_allclose(found, by_definition(OUTPUT.numpy()), atol=1e-12)
    np.testing.assert_allclose(found.sum(1), 1)


def test_the_loss_is_the_negative_log_likelihood():
    expected = -np.log(by_definition(OUTPUT.numpy())[np.arange(60), LABELS.long()])
    np.testing.assert_allclose(TASK.unreduced_loss(OUTPUT, LABELS), expected)


def test_losses_of_far_outputs_are_finite():
    output = torch.tensor([[1e4, -1e4, 1e4]]).repeat(4, 1)
    losses = TASK.unreduced_loss(output, torch.arange(4.0))
    assert bool(losses.isfinite().all())


def test_two_classes_are_a_binary_task():
    output = torch.linspace(-3, 3, 7, dtype=torch.float64)[:, None]
    target = torch.tensor([0.0, 1, 1, 0, 1, 0, 1])
    torch.testing.assert_close(
        Task.ordinal("a", 2).unreduced_loss(output, target),
        Task.binary("a").unreduced_loss(output, target),
    )
    found = Task.ordinal("a", 2).predict(output)[:, 1]
    torch.testing.assert_close(found, Task.binary("a").predict(output))


def test_gaps_that_only_have_a_bias_fit_proportional_odds():
    """The maximum of the likelihood is that of the textbook's model, found by scipy."""
    x = generator.normal(size=(300, 2))
    latent = x @ [1.5, -1.0] + generator.logistic(size=300)
    y = np.digitize(latent, [-1.0, 0.5, 2.0])

    def textbook(parameters):
        slopes, thresholds = parameters[:2], np.concatenate([[-np.inf], parameters[2:], [np.inf]])
        if (np.diff(thresholds) <= 0).any():
            return 1e6
        shift = x @ slopes
        chance = expit(thresholds[y + 1] - shift) - expit(thresholds[y] - shift)
        return float(-np.log(chance).mean())

    options = {"maxiter": 4000, "xatol": 1e-8, "fatol": 1e-12}
    best = minimize(textbook, [0, 0, -1, 0, 1], method="Nelder-Mead", options=options)
    inputs, target = torch.from_numpy(x), torch.from_numpy(y)
    slopes = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([slopes, bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss():
        score = torch.nn.functional.pad((inputs @ slopes)[:, None], (0, 2)) + bias
        return TASK.loss(score, target)

    def closure():
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    optimizer.step(closure)
    assert loss().item() == pytest.approx(best.fun, abs=1e-7)
    np.testing.assert_allclose(slopes.detach(), best.x[:2], atol=1e-3)


def test_metrics_are_those_of_scikit_learn_and_the_definition():
    probabilities = TASK.predict(OUTPUT)
    found = TASK.evaluate(probabilities, LABELS)
    assert list(found) == ["RPS", "rank MAE", "quadratic kappa", "accuracy"]
    p, y = probabilities.numpy(), LABELS.numpy()
    median = np.array([next(k for k in range(4) if row[: k + 1].sum() >= 0.5) for row in p])
    assert found["accuracy"] == pytest.approx(accuracy_score(y, median))
    assert found["rank MAE"] == pytest.approx(mean_absolute_error(y, median))
    kappa = cohen_kappa_score(y.astype(int), median, weights="quadratic", labels=range(4))
    assert found["quadratic kappa"] == pytest.approx(kappa)
    scores = [
        np.mean([(row[: k + 1].sum() - (label <= k)) ** 2 for k in range(3)])
        for row, label in zip(p, y, strict=True)
    ]
    assert found["RPS"] == pytest.approx(np.mean(scores))


def test_kappa_of_one_class_is_undefined_and_nan_is_no_score():
    sure = torch.tensor([[1.0, 0, 0, 0]] * 3)
    assert np.isnan(TASK.evaluate(sure, torch.zeros(3))["quadratic kappa"])
    assert all(np.isnan(list(TASK.evaluate(sure * torch.nan, torch.zeros(3)).values())))


def test_the_median_class_is_predicted():
    found = TASK.in_table.chosen(
        np.array([[0.5, 0.0, 0.0, 0.5], [0.4, 0.0, 0.3, 0.3], [0.1, 0.1, 0.1, 0.7]])
    )
    assert found.tolist() == [0, 2, 3]


def test_what_no_ordinal_task_can_be():
    with pytest.raises(InvalidInputError, match="needs two or more classes"):
        Task.ordinal("a", 1)
    with pytest.raises(InvalidInputError, match="class indices from 0 to 3"):
        TASK.check_target(torch.tensor([0.0, 4.0]))
    assert Task("a", "ordinal", size=3).classes == (0, 1, 2, 3)
