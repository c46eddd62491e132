"""The simulation on made-up scores: scores are what they are said to be, and few verdicts false."""

import runpy
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "verdicts_on_scores.py"
SCORES = runpy.run_path(str(SCRIPT))
DESIGNS = SCORES["DESIGNS"]


def test_rare_classes_are_undefined_in_some_folds_and_others_are_not():
    for name in ("rare under groups-2", "late under time-2"):
        table = SCORES["make_table"](DESIGNS[name], 0)
        assert table.defined[:, 0].all()
        assert 0 < table.defined[:, 1].mean() < 1
    # splits by time are the same in all seeds
    same = SCORES["make_table"](DESIGNS["late under time-2"], 0).overlaps["y0"]
    np.testing.assert_allclose(same, np.tile(np.eye(5), (3, 3)))


def test_changes_are_of_one_scale_and_as_much_alike_as_the_correction_allows():
    design = DESIGNS["plain-4"]
    random = np.random.default_rng(0)
    table = SCORES["make_table"](design, 0)
    scores = SCORES["draw_scores"](design, table, random, 4000)
    changes = scores[:, 1] - scores[:, 0]
    # regression: within a study 1, of the mean over folds x seeds 1 / 15 + 1 / 4
    number = changes[..., 0].reshape(4000, 3, 5)
    assert number.var(axis=2, ddof=1).mean() == pytest.approx(1, abs=0.05)
    assert number.mean((1, 2)).var() == pytest.approx(1 / 15 + 1 / 4, rel=0.1)
    assert np.corrcoef(changes[:, 0, 0], changes[:, 0, 2])[0, 1] == pytest.approx(0.4, abs=0.05)


@pytest.mark.parametrize("name", ["plain-4", "noisy rare-2", "late under time-2"])
def test_false_verdicts_are_few(name):
    found = SCORES["measure"](DESIGNS[name], 100, 0)
    # a rate of 5 % gives 12 or more in one of a hundred such tests
    assert found.any_verdict <= 11
    assert found.any_verdict >= max(found.delta_m, found.a_target)


def test_an_effect_is_found_and_a_change_at_the_margin_is_rarely_called_equivalent():
    found = SCORES["measure"](DESIGNS["plain-4"], 50, 50)
    assert found.found_by_delta_m > 40
    assert found.equivalent_at_the_margin <= 6
    assert found.studies == 50
