import numpy as np
import pytest
import torch
from scipy.stats import norm

from jointrain import InvalidInputError, Task

TASK = Task.mean_variance("price")
generator = np.random.default_rng(0)
MEANS, LABELS = generator.normal(size=(2, 50))
DEVIATIONS = generator.gamma(3.0, 0.5, 50) + 0.02
OUTPUT = torch.from_numpy(np.stack([MEANS, np.log(DEVIATIONS**2 - 1e-4)], 1))


def test_the_loss_is_the_negative_log_likelihood_but_for_a_constant():
    losses = TASK.unreduced_loss(OUTPUT, torch.from_numpy(LABELS)).numpy()
    best = norm.logpdf(0, 0, 0.01)
    np.testing.assert_allclose(losses, best - norm.logpdf(LABELS, MEANS, DEVIATIONS), atol=1e-10)
    assert (losses >= 0).all()


def test_predictions_are_means_and_outputs_tell_deviations():
    np.testing.assert_array_equal(TASK.predict(OUTPUT), MEANS)
    np.testing.assert_allclose(TASK.rules.deviation(OUTPUT), DEVIATIONS)


def test_the_variance_of_members_is_that_of_their_mixture():
    outputs = torch.from_numpy(generator.normal(size=(4, 3, 2)))
    means, deviations = outputs[..., 0], TASK.rules.deviation(outputs)
    found = TASK.rules.deviation(TASK.rules.mean_output(outputs)).square()
    mixed = (deviations.square() + means.square()).mean(1) - means.mean(1).square()
    torch.testing.assert_close(found, mixed)


def test_it_finds_the_spread_of_a_made_problem():
    x = torch.linspace(-1, 1, 4000, dtype=torch.float64)[:, None]
    noise = torch.from_numpy(np.random.default_rng(1).normal(size=4000))
    y = 2 * x[:, 0] + x[:, 0].exp() * noise
    layer = torch.nn.Linear(1, 2, dtype=torch.float64)
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = TASK.loss(layer(x), y)
        loss.backward()
        return loss

    optimizer.step(closure)
    # ln variance is 2 x; the standard error of a slope is some 0.04
    assert layer.weight.detach().flatten().tolist() == pytest.approx([2.0, 2.0], abs=0.15)
    assert layer.bias.detach().tolist() == pytest.approx([0.0, 0.0], abs=0.15)


def test_bad_input_in_one_line():
    with pytest.raises(InvalidInputError, match="'price' has 2 outputs, not 3; leave size out"):
        Task("price", "mean-variance", size=3)
    with pytest.raises(InvalidInputError, match="can't have classes"):
        Task("price", "mean-variance", classes=(1, 2))
    with pytest.raises(InvalidInputError, match="must hold 1 value a row"):
        TASK.check_target(torch.zeros(4, 2))
    with pytest.raises(InvalidInputError, match="must hold finite numbers"):
        TASK.check_target(torch.tensor([1.0, float("inf")]))
