import math

import numpy as np
import pytest
import torch

from jointrain import InvalidInputError, Task

TASK = Task.survival("death", (1, 2, 5))


def test_the_loss_by_hand():
    hazards = torch.tensor([0.1, 0.3, 0.6], dtype=torch.float64)
    output = torch.logit(hazards).expand(6, 3)
    target = torch.tensor([[0.5, 1], [1, 1], [1.5, 1], [2, 0], [4.9, 0], [9, 1]]).double()
    expected = [0.1, 0.1, 0.9 * 0.3, 0.9 * 0.7, 0.9 * 0.7, 0.9 * 0.7 * 0.4]
    losses = TASK.unreduced_loss(output, target)
    np.testing.assert_allclose(losses, -np.log(expected))
    found = TASK.evaluate(TASK.predict(output), target)
    assert found["log-loss"] == pytest.approx(float(losses.mean()))


def test_predictions_are_probabilities_to_be_left():
    output = torch.logit(torch.tensor([[0.1, 0.3, 0.6]], dtype=torch.float64))
    np.testing.assert_allclose(TASK.predict(output), [[0.9, 0.63, 0.252]])


def test_it_is_the_life_table_of_a_sample():
    random = np.random.default_rng(0)
    time, seen = random.exponential(3.0, 5000), random.choice([1.0, 2.0, 5.0], 5000)
    target = np.stack([np.minimum(time, seen), time <= seen], 1)
    output = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([output], max_iter=100, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = TASK.loss(output.expand(5000, 3), torch.from_numpy(target))
        loss.backward()
        return loss

    optimizer.step(closure)
    # Kaplan and Meier's estimate at the ends, as rows are lost at ends only
    left, expected = 1.0, []
    for start, end in ((0, 1), (1, 2), (2, 5)):
        at_risk = target[:, 0] > start
        happened = at_risk & (target[:, 0] <= end) & (target[:, 1] == 1)
        left *= 1 - happened.sum() / at_risk.sum()
        expected.append(left)
    np.testing.assert_allclose(TASK.predict(output.detach())[0], expected, rtol=1e-4)


def test_the_c_index_by_hand():
    target = torch.tensor([[1.0, 1], [2.0, 0], [3.0, 1], [4.0, 1]])
    # mean times 0.5, 3, 2, 5 of the first five: one of four known pairs (3 before 4 is right)
    prediction = torch.tensor([[0.5, 0, 0], [1, 1, 1 / 3], [1, 1, 0], [1, 1, 1]])
    found = TASK.evaluate(prediction, target)
    # known: 1 before each of the others, 3 before 4
    assert found["C-index"] == pytest.approx(1.0)
    found = TASK.evaluate(prediction.flip(0), target)
    assert found["C-index"] == pytest.approx(0.0)


@pytest.mark.parametrize("ends", [(), (0, 1), (2, 1), (1, 1), (1, math.inf), (math.nan,)])
def test_ends_must_rise_from_above_0(ends):
    with pytest.raises(InvalidInputError, match="the ends of its intervals, which rise from above"):
        Task.survival("death", ends)


@pytest.mark.parametrize("row", [[-1.0, 1.0], [1.0, 0.5], [math.inf, 0.0]])
def test_bad_rows_in_one_line(row):
    with pytest.raises(InvalidInputError, match=r"task 'death' must be a time of 0.*but row 2 hol"):
        TASK.check_target(torch.tensor([[1.0, 1.0], row]))
