"""Figures have as many digits as it takes to see what decides, and 0 has no minus."""

import pytest

from jointrain.reports._summary import change_and_interval, comparison_to_json
from jointrain.reports._words import better_or_worse, percent
from jointrain.reports.page._figure_texts import change_text

from ._made_results import comparison

FIGURES = {
    (0.0334, 0.0321, 0.0347, "better"): "+0.033 % [+0.032, +0.035]",
    (-0.0334, -0.0347, -0.0321, "worse"): "-0.033 % [-0.035, -0.032]",
    (5.0, 0.00004, 10.0, "better"): "+5.0 % [+0.000040, +10.0]",
    (3.5, -0.041, 7.0, "undecided"): "+3.5 % [-0.041, +7.0]",
    (-0.01, -3.0, 2.0, "undecided"): "+0.0 % [-3.0, +2.0]",
    (-0.01, -0.03, 0.02, "equivalent"): "+0.0 % [+0.0, +0.0]",
    (0.0, 0.0, 0.0, "equivalent"): "+0.0 % [+0.0, +0.0]",
}


@pytest.mark.parametrize("figures", FIGURES)
def test_a_change_that_is_printed(figures):
    *change, verdict = figures
    made = comparison(tuple(change), verdict=verdict)
    assert change_and_interval(made) == FIGURES[figures]
    assert change_text(comparison_to_json(made)) == FIGURES[figures]


def test_a_change_in_words():
    better = comparison((5.0, 0.00004, 10.0), verdict="better")
    assert better_or_worse(better) == "5 % better [0.00004, 10]"
    undecided = comparison((12.0, -0.041, 24.0))
    assert better_or_worse(undecided) == "12 % better [-0.041, 24]"
    difference = comparison((0.0, -0.0, 0.0), unit="difference")
    assert change_and_interval(difference) == "+0 [+0, +0]"


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (-0.01, "0"), (10.0, "10"), (19.96, "20"), (100.0, "100")]
)
def test_percent_has_one_decimal_at_most(value, text):
    assert percent(value) == text
