"""The simulation of verdicts: tables are what they are said to be, and rates are counted right."""

import json
import math
import runpy
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LinearRegression

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "verdicts.py"
VERDICTS = runpy.run_path(str(SCRIPT))
ROWS, TASKS, NOISE = VERDICTS["ROWS"], VERDICTS["TASKS"], VERDICTS["NOISE"]


@pytest.mark.parametrize("seed", range(5))
def test_related_tasks_order_the_rows_alike_and_unrelated_ones_do_not(seed):
    _, related = VERDICTS["make_truth"](True, seed)
    _, unrelated = VERDICTS["make_truth"](False, seed)
    others = ~np.eye(TASKS, dtype=bool)
    assert np.abs(stats.spearmanr(related).statistic)[others] == pytest.approx(1)
    assert np.abs(stats.spearmanr(unrelated).statistic)[others].max() < 0.25
    assert related.std(0) == pytest.approx(1)


def test_unrelated_tasks_depend_on_their_own_inputs_only():
    inputs, truth = VERDICTS["make_truth"](False, 0)
    width = inputs.shape[1] // TASKS
    for task in range(TASKS):
        own = inputs[:, task * width : (task + 1) * width]
        with_own = LinearRegression().fit(own, truth[:, task]).score(own, truth[:, task])
        with_all = LinearRegression().fit(inputs, truth[:, task]).score(inputs, truth[:, task])
        assert with_own > 0.8
        assert with_all - with_own < 0.02


def test_each_row_has_the_label_of_one_task_with_its_noise():
    _, truth = VERDICTS["make_truth"](True, 3)
    labels = VERDICTS["make_table"](True, 3).labels()
    assert (np.isfinite(labels).sum(1) == 1).all()
    assert (np.isfinite(labels).sum(0) == ROWS // TASKS).all()
    assert np.nanstd(labels - truth) == pytest.approx(NOISE, rel=0.15)
    np.testing.assert_array_equal(labels, VERDICTS["make_table"](True, 3).labels())
    assert not np.array_equal(labels, VERDICTS["make_table"](True, 4).labels(), equal_nan=True)


def test_partners_are_swapped_and_all_else_is_equal():
    separate, joint = VERDICTS["make_study"]("other partners", 0).recipes
    assert separate.partition == (("y0", "y1"), ("y2", "y3"))
    assert joint.partition == (("y0", "y2"), ("y1", "y3"))
    assert separate.schedule == joint.schedule


def test_outcome_holds_what_the_study_says():
    result = VERDICTS["make_study"]("related", 0, epochs=2).run(workers=1)
    outcome = VERDICTS["outcome"](result)
    assert len(outcome.differences) == 15
    assert np.mean(outcome.differences) == pytest.approx(result.delta_m["joint"].change)
    assert outcome.change == result.delta_m["joint"].change
    assert outcome.overall == result.delta_m["joint"].verdict
    assert outcome.tasks == tuple(c.verdict for c in result.comparisons["joint"].values())


@pytest.mark.parametrize("design", ["rare under groups", "late under time"])
def test_rare_classes_are_undefined_in_some_folds(design):
    study = VERDICTS["make_study"](design, 0, epochs=1)
    table = study.table
    assert [task.kind for task in table.tasks] == ["regression", "binary", "binary", "regression"]
    positives = np.nansum(table.labels()[:, 1:3], axis=0)
    assert (positives > 20).all()
    assert (positives < ROWS / 4).all()
    result = study.run(workers=1)
    outcome = VERDICTS["outcome"](result)
    auc = result.values("joint", "y1", "ROC-AUC")
    assert outcome.defined <= np.isfinite(auc).mean() < 1
    assert np.isfinite(outcome.differences).all()


def test_rates_of_a_hand_made_set_of_studies():
    outcome = VERDICTS["Outcome"]
    nothing = ("undecided",) * 4
    outcomes = [
        outcome(("better", *nothing[1:]), "undecided", 1.0, (0.0, 2.0)),
        outcome(nothing, "better", 2.0, (2.0, 2.0)),
        outcome(("worse", *nothing[1:]), "better", 3.0, (3.0, 3.0), 0.6),
        outcome(nothing, "undecided", -2.0, (-2.0, -2.0)),
    ]
    cells = VERDICTS["summary"](outcomes)
    shares = [float(cell.split()[0]) for cell in cells[:5]]
    assert shares == [75.0, 75.0, 25.0, 50.0, 25.0]
    assert cells[5] == f"+1.00 ± {1.96 * math.sqrt(14 / 3) / 2:.2f}"
    assert cells[7] == "90 %"


def test_an_exact_null_fails_only_if_the_rate_is_surely_too_high():
    outcome = VERDICTS["Outcome"]
    right = outcome(("undecided",), "undecided", 0.0, (0.0,))
    wrong = outcome(("worse",), "undecided", 0.0, (0.0,))
    fails = VERDICTS["fails"]
    # Wilson: 16 of 200 has 5.0 %, 17 of 200 has 5.4 % as its lower bound
    assert not fails("other partners", [wrong] * 15 + [right] * 185)
    assert fails("other partners", [wrong] * 18 + [right] * 182)
    assert not fails("unrelated", [wrong] * 200)


def test_results_are_read_back(tmp_path):
    one = VERDICTS["Outcome"](("better", "undecided"), "worse", -1.5, (1.0, -2.0), 0.8)
    place = tmp_path / "results.jsonl"
    place.write_text(json.dumps({"design": "related", "seed": 7, **one._asdict()}) + "\n")
    assert VERDICTS["read_results"](place, "related") == {7: one}
    assert VERDICTS["read_results"](place, "unrelated") == {}
    assert VERDICTS["read_results"](None, "related") == {}


def test_share_has_wilsons_interval():
    # centre (k + z^2 / 2) / (n + z^2), half-width z sqrt(k (n - k) / n + z^2 / 4) / (n + z^2)
    count, of, z = 5, 100, 1.959964
    centre = (count + z**2 / 2) / (of + z**2)
    half = z * math.sqrt(count * (of - count) / of + z**2 / 4) / (of + z**2)
    expected = f"5.0 ({100 * (centre - half):.1f}-{100 * (centre + half):.1f})"
    assert VERDICTS["share_text"](count, of) == expected == "5.0 (2.2-11.2)"


@pytest.mark.parametrize("correlation", [0.0, 0.2, 0.6])
def test_correlation_of_differences_is_found(correlation):
    random = np.random.default_rng(0)
    common, noise = random.normal(size=(4000, 1)), random.normal(size=(4000, 15))
    differences = math.sqrt(correlation) * common + math.sqrt(1 - correlation) * noise
    assert VERDICTS["correlation_within"](differences) == pytest.approx(correlation, abs=0.02)
