import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

from jointrain import InvalidInputError, Task

TASK = Task.censored("dose")
random = np.random.default_rng(0)
MEANS = random.normal(size=60)
DEVIATIONS = random.gamma(3.0, 0.5, 60) + 0.02
OUTPUT = torch.from_numpy(np.stack([MEANS, np.log(DEVIATIONS**2 - 1e-4)], 1))
LOWER = random.normal(size=60)
UPPER = LOWER + random.gamma(1.0, 1.0, 60)
UPPER[:15] = LOWER[:15]
UPPER[15:25], LOWER[25:35] = math.inf, -math.inf
LOWER[35], UPPER[35] = -math.inf, math.inf
LOWER[36], UPPER[36] = 300.0, 301.0
LOWER[37], UPPER[37] = -300.0, -299.9
LOWER[38], UPPER[38] = 500.0, math.inf
TARGET = torch.from_numpy(np.stack([LOWER, UPPER], 1))


def test_the_loss_is_that_of_densities_and_probabilities():
    losses = TASK.unreduced_loss(OUTPUT, TARGET).numpy()
    density = norm.logpdf(0, 0, 0.01) - norm.logpdf(LOWER, MEANS, DEVIATIONS)
    lower, upper = (LOWER - MEANS) / DEVIATIONS, (UPPER - MEANS) / DEVIATIONS
    right = np.nan_to_num(lower) + np.nan_to_num(upper) > 0
    low, high = np.where(right, -upper, lower), np.where(right, -lower, upper)
    with np.errstate(all="ignore"):
        between = -(norm.logcdf(high) + np.log1p(-np.exp(norm.logcdf(low) - norm.logcdf(high))))
    between[35] = 0.0
    np.testing.assert_allclose(losses, np.where(LOWER == UPPER, density, between), rtol=1e-8)


def test_slopes_are_finite_and_right():
    output = OUTPUT.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda o: TASK.unreduced_loss(o, TARGET)[:36], output)
    TASK.unreduced_loss(output, TARGET).sum().backward()
    assert output.grad.isfinite().all()


def test_bounds_are_used():
    # by hand: everything above 1 is known to be above 1 only
    truth = torch.from_numpy(random.normal(1.0, 1.0, 20_000))
    target = torch.stack([truth.clamp_max(1.0), truth.where(truth < 1, torch.inf)], 1)
    output = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([output], max_iter=100, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = TASK.loss(output.expand(len(target), 2), target)
        loss.backward()
        return loss

    optimizer.step(closure)
    assert float(TASK.predict(output.detach())) == pytest.approx(1.0, abs=0.05)
    assert float(TASK.rules.deviation(output.detach())) == pytest.approx(1.0, abs=0.05)


def test_metrics_by_hand():
    target = torch.tensor([[1.0, 1.0], [2.0, math.inf], [-math.inf, 0.0], [0.0, 4.0]])
    prediction = torch.tensor([3.0, 1.0, -5.0, 2.0])
    found = TASK.evaluate(prediction, target)
    # 2 too high, 1 too low, two within
    assert found["RMSE beyond bounds"] == pytest.approx(math.sqrt(5 / 4))
    # known orders: 1 < 2+, up to 0 < 1, up to 0 < 2+; the first is predicted wrongly
    assert found["C-index"] == pytest.approx(2 / 3)


def test_bad_input_in_one_line():
    with pytest.raises(InvalidInputError, match=r"at most the upper one.*but row 3 holds 2, 1$"):
        TASK.check_target(torch.tensor([[1.0, 1.0], [math.nan, 0.0], [2.0, 1.0]]))
    with pytest.raises(InvalidInputError, match="row 1 holds inf, inf"):
        TASK.check_target(torch.tensor([[math.inf, math.inf]]))
    with pytest.raises(InvalidInputError, match="must hold 2 values a row"):
        TASK.check_target(torch.zeros(4))
    with pytest.raises(InvalidInputError, match="has 2 outputs, not 1"):
        Task("dose", "censored", size=1)
