"""Seeds needed: how many repetitions would show a given difference, by the power of the t-test."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from jointrain.studies._statistics import FEWEST_FOLDS, LEVEL, Estimate

POWER = 0.8
"""How often a difference of the given size is to be found."""

MOST_SEEDS = 100_000
"""More seeds than these are not counted."""


@dataclass(frozen=True)
class SeedsNeeded:
    """How many seeds would show a difference.

    Args:
        difference: The difference, in the unit of the change.
        seeds: As many show it with a power of 0.8 if the spread is what was seen; None: no number
            of seeds does, or the spread is not known.
        seeds_if_wider: The same at the upper 80 % limit of the spread: few runs tell it roughly.
    """

    difference: float
    seeds: int | None = None
    seeds_if_wider: int | None = None


@dataclass(frozen=True)
class Repetition:
    """How the error of a change falls with the number of seeds.

    Args:
        seeds: How many there are; of unpaired runs, the harmonic mean of both sides.
        floor: What seeds do not lessen: the squared error is proportional to ``1 / seeds + floor``.
        freedom: How degrees of freedom grow: ``less one`` with seeds - 1, ``seeds`` with seeds,
            ``fixed`` not at all.
    """

    seeds: float
    floor: float = 0.0
    freedom: Literal["less one", "seeds", "fixed"] = "less one"

    def freedom_at(self, now: float, seeds: int) -> float:
        """Return the degrees of freedom that so many seeds would have."""
        if self.freedom == "fixed":
            return now
        if self.freedom == "seeds":
            return now * seeds / self.seeds
        return now * (seeds - 1) / (self.seeds - 1)


def seeds_needed(
    estimate: Estimate, difference: float, tests: float, repetition: Repetition
) -> SeedsNeeded:
    r"""Return how many seeds would show a difference with a power of 0.8.

    The power of the two-sided t-test at the level that is shared out among `tests`, with the
    noncentrality :math:`\delta / \mathrm{SE}(n)`, by the noncentral t distribution.

    Args:
        estimate: The change that was seen, with its error.
        difference: What is to be seen, in the unit of the change.
        tests: By how many the level of 0.05 is shared out.
        repetition: How the error falls.

    Source: Cohen, "Statistical Power Analysis for the Behavioral Sciences", 1988, chapter 2;
        Browne, "On the use of a pilot sample for sample size determination", Statistics in
        Medicine 14, 1995, for the upper limit of the spread.
    """
    if not (estimate.judged and difference > 0) or estimate.error == 0:
        return SeedsNeeded(difference)
    from scipy.special import chdtri

    # chdtri takes the area above: four fifths of all samples lie above this point
    wider = math.sqrt(estimate.freedom / float(chdtri(estimate.freedom, 0.8)))
    return SeedsNeeded(
        difference,
        _fewest(estimate, difference, tests, repetition),
        _fewest(estimate, difference / wider, tests, repetition),
    )


def _fewest(
    estimate: Estimate, difference: float, tests: float, repetition: Repetition
) -> int | None:
    def shows(seeds: int) -> bool:
        shrunk = (1 / seeds + repetition.floor) / (1 / repetition.seeds + repetition.floor)
        error = estimate.error * math.sqrt(shrunk)
        freedom = repetition.freedom_at(estimate.freedom, seeds)
        return power(difference / error, freedom, LEVEL / tests) >= POWER

    low = 1 if repetition.floor else FEWEST_FOLDS
    if shows(low):
        return low
    high = 2 * low
    while not shows(high):
        if high > MOST_SEEDS:
            return None
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if shows(middle) else (middle, high)
    return high


def power(noncentrality: float, freedom: float, level: float) -> float:
    """Return how often a two-sided t-test finds a difference of so many standard errors."""
    from scipy.special import nctdtr, ndtr, stdtrit

    limit = float(stdtrit(freedom, 1 - level / 2))
    if freedom > 1e5 or noncentrality > limit + 30:
        return float(ndtr(noncentrality - limit) + ndtr(-noncentrality - limit))
    above = 1 - float(nctdtr(freedom, noncentrality, limit))
    below = float(nctdtr(freedom, noncentrality, -limit))
    # scipy gives NaN where what lies below is next to nothing
    return above + (below if math.isfinite(below) else 0.0)
