"""The power of the t-test, against scipy's noncentral t and published tables."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, stats

from jointrain.studies._seeds_needed import Repetition, power, seeds_needed
from jointrain.studies._statistics import Estimate


def estimate(error, freedom):
    return Estimate(
        change=0.0,
        error=error,
        freedom=freedom,
        residuals=np.zeros(1),
        unit="percent",
        defined=5,
        total=5,
        margin=1.0,
    )


@pytest.mark.parametrize("freedom", [2, 4.5, 30])
@pytest.mark.parametrize("noncentrality", [0, 0.5, 2, 8])
def test_power_is_that_of_the_noncentral_t(freedom, noncentrality):
    limit = stats.t.isf(0.005, freedom)
    expected = stats.nct.sf(limit, freedom, noncentrality)
    # by the density: the distribution function is NaN where it is next to nothing
    expected += integrate.quad(stats.nct.pdf, -np.inf, -limit, args=(freedom, noncentrality))[0]
    assert power(noncentrality, freedom, 0.01) == pytest.approx(expected, abs=1e-6)


def test_power_without_a_difference_is_the_level():
    assert power(0, 7, 0.05) == pytest.approx(0.05)
    assert power(1e9, 2, 0.05) == 1


@pytest.mark.parametrize(("size", "pairs"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_pairs_for_the_effects_of_the_books(size, pairs):
    # G*Power 3.1, difference between two dependent means, two-sided 0.05, power 0.8
    found = seeds_needed(estimate(1 / math.sqrt(5), 4), size, 1, Repetition(5))
    assert found.seeds == pairs
    # the upper 80 % limit of a standard deviation of four degrees of freedom
    assert found.seeds_if_wider == pytest.approx(pairs * 4 / stats.chi2.ppf(0.2, 4), rel=0.15)


def test_folds_have_a_floor():
    # five folds: with any number of seeds the error is at least sqrt(1.25 / 2.25) of that of one
    repetition = Repetition(1, 1.25, "fixed")
    found = seeds_needed(estimate(1, 4), 3.0, 1, repetition)
    assert found.seeds is not None
    error = math.sqrt((1 / found.seeds + 1.25) / 2.25)
    assert power(3 / error, 4, 0.05) >= 0.8
    assert seeds_needed(estimate(1, 4), 1.0, 1, repetition).seeds is None
    # seeds that cut anew have degrees of freedom of their own
    anew = seeds_needed(estimate(1, 4), 3.0, 1, Repetition(1, 1.25, "seeds"))
    assert anew.seeds < found.seeds


@pytest.mark.parametrize("error", [0.0, math.nan])
def test_without_a_spread_there_is_no_number(error):
    assert seeds_needed(estimate(error, 4), 1.0, 1, Repetition(5)).seeds is None
    assert seeds_needed(estimate(1, 4), math.nan, 1, Repetition(5)).seeds is None
