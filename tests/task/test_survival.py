import itertools
import math

import numpy as np
import pytest
import torch

from jointrain import InvalidInputError, Task
from jointrain.task._censored_concordance import censored_concordance
from jointrain.task._kind import in_few_digits

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
    # mean times 1, 4, 3.5, 5 of the first five
    prediction = torch.tensor([[0.5, 0, 0], [1, 1, 1 / 3], [1, 1, 0], [1, 1, 1]])
    found = TASK.evaluate(prediction, target)
    # known: 1 before each of the others, 3 before 4
    assert found["C-index"] == pytest.approx(1.0)
    found = TASK.evaluate(prediction.flip(0), target)
    assert found["C-index"] == pytest.approx(0.0)


def test_the_c_index_is_that_of_the_predicted_mean_time():
    random = np.random.default_rng(0)
    hazards = torch.from_numpy(random.uniform(0.05, 0.9, (300, 3)))
    prediction = TASK.predict(torch.logit(hazards))
    time = np.round(random.exponential(3.0, 300), 1)
    target = torch.from_numpy(np.stack([time, random.random(300) < 0.6], 1).astype(float))
    weights = torch.from_numpy(random.integers(1, 4, 300).astype(float))
    mean = torch.from_numpy(TASK.in_table.predicted_columns(prediction.numpy())[0].values)
    until = torch.where(target[:, 1] == 1, target[:, 0], math.inf)
    # seen until a time without the event: outlived what ended then
    since = torch.where(target[:, 1] == 1, target[:, 0], target[:, 0] + 0.01)
    for given in (None, weights):
        found = TASK.evaluate(prediction, target, given)["C-index"]
        assert found == censored_concordance(mean, since, until, given)


def test_what_happens_in_an_interval_happens_in_its_middle_on_average():
    # 0.75 + 0.375 + 0.375 and 0.875 + 0.375; by the probabilities at the ends both are 0.75
    prediction = torch.tensor([[0.5, 0.25, 0.0], [0.75, 0.0, 0.0]], dtype=torch.float64)
    columns = TASK.in_table.predicted_columns(prediction.numpy())
    np.testing.assert_allclose(columns[0].values, [1.5, 1.25])
    target = torch.tensor([[2.0, 1], [1.0, 1]])
    assert TASK.evaluate(prediction, target)["C-index"] == 1


def test_equal_predictions_are_right_by_half():
    target = torch.tensor([[1.0 + index, 1] for index in range(37)])
    prediction = torch.tensor([0.9, 0.63, 0.252]).expand(37, 3)
    assert TASK.evaluate(prediction, target)["C-index"] == 0.5


@pytest.mark.parametrize("ends", [(), (0, 1), (2, 1), (1, 1), (1, math.inf), (math.nan,)])
def test_ends_must_rise_from_above_0(ends):
    with pytest.raises(InvalidInputError, match="the ends of its intervals, which rise from above"):
        Task.survival("death", ends)


@pytest.mark.parametrize("row", [[-1.0, 1.0], [1.0, 0.5], [math.inf, 0.0]])
def test_bad_rows_in_one_line(row):
    with pytest.raises(InvalidInputError, match=r"task 'death' must be a time of 0.*but row 2 hol"):
        TASK.check_target(torch.tensor([[1.0, 1.0], row]))


def test_the_c_index_counts_what_was_seen_until_the_time_of_an_event():
    """Harrell's pairs, by hand: seen until t without the event is longer than dead at t."""
    random = np.random.default_rng(0)
    time = random.integers(1, 5, 80).astype(float)
    event = random.integers(0, 2, 80)
    left = torch.from_numpy(np.sort(random.random((80, 3)))[:, ::-1].copy())
    mean = TASK.in_table.predicted_columns(left.numpy())[0].values
    right = pairs = 0.0
    for first, second in itertools.permutations(range(80), 2):
        outlived = time[first] < time[second] or (time[first] == time[second] and not event[second])
        if event[first] and outlived:
            pairs += 1
            right += (mean[first] < mean[second]) + 0.5 * (mean[first] == mean[second])
    target = torch.tensor(np.stack([time, event], axis=1))
    assert TASK.evaluate(left, target)["C-index"] == pytest.approx(right / pairs)


def test_columns_of_ends_have_names_of_their_own():
    task = Task.survival("d", (1e6, 1_000_001.0, 2e6))
    columns = task.in_table.predicted_columns(np.ones((2, 3)))
    assert [one.suffix for one in columns] == ["", ">1000000", ">1000001", ">2000000"]
    assert in_few_digits((0.1, 30.0, 1e6)) == ["0.1", "30", "1e+06"]
