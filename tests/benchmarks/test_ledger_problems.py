"""The ledger's problems: rows are what they are said to be, and a seed decides all of them."""

import runpy
from pathlib import Path

import pytest
import torch
from sklearn.linear_model import LinearRegression

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "ledger_problems.py"
MODULE = runpy.run_path(str(SCRIPT))
PROBLEMS = MODULE["PROBLEMS"]


def drawn(name, count=2000, seed=0):
    return PROBLEMS[name].draw(count, torch.Generator().manual_seed(seed))


def stacked(data):
    return torch.stack(list(data.targets.values()), 1)


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=list(PROBLEMS))
def test_a_seed_decides_the_rows_and_networks_fit_them(problem):
    cut = problem.data(3)
    assert tuple(map(len, cut)) == problem.rows
    for part, again, other in zip(cut, problem.data(3), problem.data(4), strict=True):
        assert torch.equal(part.inputs, again.inputs)
        assert not torch.equal(part.inputs, other.inputs)
        for task in problem.tasks:
            task.check_target(part.targets[task.name])
            torch.testing.assert_close(
                part.targets[task.name], again.targets[task.name], equal_nan=True
            )
    for task in problem.tasks:
        assert bool(task.labelled(cut.test.targets[task.name]).all())
        alone = problem.network([task])
        loss = alone.loss(task, alone(cut.test.inputs)[task.name], cut.test.targets[task.name])
        assert bool(loss.isfinite())


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=list(PROBLEMS))
def test_training_rows_have_as_many_labels_as_is_said(problem):
    training = problem.data(0).training
    counts = [int(task.labelled(training.targets[task.name]).sum()) for task in problem.tasks]
    assert counts == list(problem.labels or [problem.rows[0]] * len(problem.tasks))


def test_related_tasks_go_together_and_unrelated_ones_do_not():
    related = stacked(drawn("related")).T.corrcoef().abs()
    unrelated = stacked(drawn("unrelated")).T.corrcoef().abs()
    others = ~torch.eye(4, dtype=torch.bool)
    assert related[others].min() > 0.7
    assert unrelated[others].max() < 0.1


def test_unrelated_tasks_depend_on_their_own_inputs_only():
    data = drawn("unrelated")
    for task, target in enumerate(data.targets.values()):
        own = data.inputs[:, 4 * task : 4 * task + 4]
        with_own = LinearRegression().fit(own, target).score(own, target)
        with_all = LinearRegression().fit(data.inputs, target).score(data.inputs, target)
        assert with_own > 0.7
        assert with_all - with_own < 0.02


def test_scales_span_six_powers_of_ten_of_the_squared_error():
    spread = stacked(drawn("scales")).var(0)
    assert float(spread.max() / spread.min()) == pytest.approx(1e6, rel=0.1)


def test_many_tasks_have_more_and_more_noise_around_three_hidden_curves():
    columns = stacked(drawn("many", 5000))
    noise = columns.var(0) - 1
    assert noise.tolist() == pytest.approx(torch.linspace(0.1, 1.5, 20).square().tolist(), abs=0.15)
    values = torch.linalg.svdvals((columns - columns.mean(0))[:, :5])
    assert values[3] < 0.4 * 5000**0.5 < values[2]  # the fifth task's noise is 0.39


def test_digits_are_odd_as_their_class_says():
    targets = drawn("digits", 500).targets
    assert torch.equal(targets["odd"].long(), targets["digit"] % 2)


def test_test_rows_of_two_digits_show_digits_that_training_has_not_seen():
    cut = PROBLEMS["two digits"].data(0)
    # columns 0 to 3 show the left digit alone
    seen = {tuple(image.flatten().tolist()) for image in cut.training.inputs[..., :4]}
    unseen = {tuple(image.flatten().tolist()) for image in cut.test.inputs[..., :4]}
    assert len(seen) > 300
    assert len(seen & unseen) < 10  # two digits may look alike


def test_scenes_show_the_nearest_thing_and_its_edges():
    data = drawn("pixels", 300)
    side = MODULE["SIDE"]
    segment, depth, edge = (
        data.targets[k].view(-1, side, side) for k in ("segment", "depth", "edge")
    )
    assert bool((depth[segment == 0] == 1).all())
    assert bool((depth[segment > 0] < 1).all())
    inner = edge[:, :-1, :-1].bool()
    right, down = (depth.diff(dim=d) != 0 for d in (2, 1))
    assert torch.equal(inner, right[:, :-1] | down[:, :, :-1])
    plain = segment == 1
    assert float((data.inputs[:, 0] - (1.2 - depth))[plain].mean()) == pytest.approx(0, abs=0.01)


def test_sentences_are_tagged_by_hand_made_rules():
    data = drawn("sentences", 50)
    for row in (0, 17):
        token = data.inputs[row].tolist()
        tags = [(now + before) % 3 for before, now in zip([0, *token], token, strict=False)]
        assert data.targets["tags"][row].tolist() == tags
        families = [one // 6 for one in token]
        most = int(data.targets["most"][row])
        assert families.count(most) == max(map(families.count, range(4)))
        assert float(data.targets["kinds"][row]) == pytest.approx((len({*token}) - 8) / 1.5)
