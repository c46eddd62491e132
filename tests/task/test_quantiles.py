import numpy as np
import pytest
import torch
from sklearn.metrics import mean_pinball_loss

from jointrain import InvalidInputError, Task

LEVELS = (0.1, 0.5, 0.8)
TASK = Task.quantiles("price", LEVELS)
generator = torch.Generator().manual_seed(0)
OUTPUT = torch.randn(40, 3, generator=generator, dtype=torch.float64)
LABELS = torch.randn(40, generator=generator, dtype=torch.float64)


def test_the_loss_is_twice_the_mean_pinball_loss():
    quantiles = TASK.predict(OUTPUT).numpy()
    each = [
        mean_pinball_loss(LABELS, quantiles[:, i], alpha=level) for i, level in enumerate(LEVELS)
    ]
    assert float(TASK.loss(OUTPUT, LABELS)) == pytest.approx(2 * np.mean(each))
    found = TASK.evaluate(TASK.predict(OUTPUT), LABELS)
    assert found["pinball loss"] == pytest.approx(np.mean(each))
    median = Task.quantiles("price", (0.5,))
    losses = median.unreduced_loss(OUTPUT[:, :1], LABELS)
    torch.testing.assert_close(losses, (OUTPUT[:, 0] - LABELS).abs())


def test_quantiles_never_cross_and_the_first_output_is_the_middle_one():
    quantiles = TASK.predict(100 * OUTPUT)
    assert (quantiles.diff(dim=1) >= 0).all()
    torch.testing.assert_close(quantiles[:, 1], 100 * OUTPUT[:, 0])


def test_it_finds_the_quantiles_of_a_sample():
    sample = torch.randn(20_000, generator=generator, dtype=torch.float64).exp()
    output = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([output], lr=0.02)
    for _ in range(600):
        optimizer.zero_grad()
        TASK.loss(output.expand(len(sample), 3), sample).backward()
        optimizer.step()
    found = TASK.predict(output.detach())[0].numpy()
    np.testing.assert_allclose(found, np.quantile(sample, LEVELS), rtol=0.03)


def test_calibration_is_about_shares_of_labels_below():
    prediction = torch.tensor([[0.0, 1.0, 3.0]]).expand(4, 3)
    found = TASK.evaluate(prediction, torch.tensor([-1.0, 0.5, 2.0, 4.0]))
    # a quarter, a half and three quarters lie below
    assert found["calibration error"] == pytest.approx((0.15 + 0.0 + 0.05) / 3)


@pytest.mark.parametrize("levels", [(), (0.5, 0.1), (0.0, 0.5), (0.5, 1.0), (0.5, 0.5), (np.nan,)])
def test_levels_must_rise_between_0_and_1(levels):
    with pytest.raises(InvalidInputError, match="needs levels that rise from above 0 to below 1"):
        Task.quantiles("price", levels)


def test_a_target_is_one_finite_number():
    with pytest.raises(InvalidInputError, match="must hold 1 value a row"):
        TASK.check_target(torch.zeros(4, 3))
    with pytest.raises(InvalidInputError, match="must hold finite numbers"):
        TASK.check_target(torch.tensor([1.0, float("inf")]))
