"""Figures and names in words, for sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence

from jointrain.baselines import BASELINES
from jointrain.experiments import SEPARATE
from jointrain.metrics import Metric
from jointrain.studies import Comparison

_NUMBERS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
]

_FRACTIONS = {
    1: "as much",
    9 / 10: "nine tenths",
    4 / 5: "four fifths",
    3 / 4: "three quarters",
    2 / 3: "two thirds",
    1 / 2: "half",
    1 / 3: "a third",
    1 / 4: "a quarter",
    1 / 5: "a fifth",
    1 / 6: "a sixth",
    1 / 7: "a seventh",
    1 / 8: "an eighth",
    1 / 9: "a ninth",
    1 / 10: "a tenth",
}


def number(count: int) -> str:
    """Return a small count as a word, a larger one in figures."""
    return _NUMBERS[count] if count < len(_NUMBERS) else f"{count:,}"


def listed(names: Sequence[str], most: int = 6) -> str:
    """Return names as they are listed in a sentence, all but one of the most if there are more."""
    if len(names) > most:
        shown = names[: most - 1]
        return f"{', '.join(shown)} and {len(names) - len(shown)} more"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def targets_text(names: Sequence[str], of: int, what: str = "targets") -> str:
    """Return up to three names, or how many targets they are; `of` is the number of all."""
    if len(names) <= 3:
        return listed(names)
    return f"the {number(len(names))} {what}" if len(names) == of else listed(names, 3)


def percent(value: float, decimals: int = 1) -> str:
    """Return a figure with so many decimals; with none if these are 0, or the figure 20 or more."""
    places = 0 if abs(value) >= 20 else decimals
    text = f"{value:.{places}f}"
    text = text.rstrip("0").removesuffix(".") if places else text
    return "0" if text == "-0" else text


def decimals_of(value: float, verdict: str, *, bound: bool) -> int:
    """Return how many decimals a figure in percent is printed with.

    One; more where what decides would be 0: any figure of what is better or worse, and the bounds
    of what is undecided.

    Args:
        value: The figure.
        verdict: Of the change that it belongs to.
        bound: Whether it is a bound of the interval, or the change itself.
    """
    decides = verdict in ("better", "worse") or (bound and verdict == "undecided")
    if not decides or not math.isfinite(value) or value == 0 or abs(value) >= 0.05:
        return 1
    return 1 - math.floor(math.log10(abs(value)))


def signed(value: float, unit: str, verdict: str, *, bound: bool) -> str:
    """Return a figure of a change with its sign, which 0 has only as ``+``.

    Args:
        value: The figure.
        unit: ``percent`` or ``difference``.
        verdict: As in `decimals_of`.
        bound: As there.
    """
    form = ".3g" if unit == "difference" else f".{decimals_of(value, verdict, bound=bound)}f"
    text = f"{value:{form}}"
    return f"{0.0 if float(text) == 0 else value:+{form}}"


def size_and_interval(comparison: Comparison, *, turned: bool = False) -> str:
    """Return a change with its interval, such as ``5.8 % [0.3, 11.3]``.

    Args:
        comparison: The change.
        turned: Give it with the other sign: by how much the other one is better.
    """
    sign = -1 if turned else 1
    values = [sign * comparison.change, *sorted((sign * comparison.low, sign * comparison.high))]
    if comparison.unit == "difference":
        digits = [f"{value + 0.0:.3g}" for value in values]
    else:
        whole = abs(values[0]) >= 10 and min(map(abs, values[1:])) >= 1
        digits = [
            f"{value:.0f}" if whole else _percent_of(comparison, value, bound=index > 0)
            for index, value in enumerate(values)
        ]
    if not math.isfinite(values[1]):
        return digits[0] + unit(comparison)
    return f"{digits[0]}{unit(comparison)} [{digits[1]}, {digits[2]}]"


def _percent_of(comparison: Comparison, value: float, *, bound: bool) -> str:
    return percent(value, decimals_of(value, comparison.verdict, bound=bound))


def metric_heading(metric: Metric) -> str:
    """Return a metric's name with an arrow in the direction in which it is better."""
    return f"{metric.name} {'↑' if metric.higher_is_better else '↓'}"


def better_or_worse(comparison: Comparison, than: str = "") -> str:
    """Return a change in words: ``5.8 % worse than apart [0.3, 11.3]``, ``no better`` at 0."""
    figures = (comparison.change, comparison.low, comparison.high)
    in_percent = comparison.unit == "percent"
    zero = [
        _percent_of(comparison, one, bound=index > 0) == "0" if in_percent else one == 0
        for index, one in enumerate(figures)
    ]
    turned = comparison.change < 0 and not zero[0]
    size, _, interval = size_and_interval(comparison, turned=turned).partition(" [")
    words = f"no better{than}" if zero[0] else f"{size} {'worse' if turned else 'better'}{than}"
    return f"{words} [{interval}" if interval and not all(zero) else words


def not_counted(comparison: Comparison) -> str:
    """Return the targets that a figure over several ones leaves out, to be put behind it."""
    left_out = comparison.left_out
    return f" ({listed(left_out, 4)} not counted)" if left_out else ""


def overall_change(comparison: Comparison, than: str = "") -> str:
    """Return a change over several targets as `better_or_worse`, with those that it leaves out."""
    return better_or_worse(comparison, than) + not_counted(comparison)


def unit(comparison: Comparison) -> str:
    """Return what follows a figure of a comparison."""
    return " %" if comparison.unit == "percent" else ""


def margin_text(comparison: Comparison) -> str:
    """Return up to which change nothing matters."""
    return f"{two_digits(comparison.margin)}{unit(comparison)}"


def beyond_margin(comparison: Comparison) -> str:
    """Return ``beyond 1 %`` with a space before, nothing for a margin of 0."""
    return f" beyond {margin_text(comparison)}" if comparison.margin else ""


def two_digits(value: float) -> str:
    """Return a figure with two digits that count."""
    return f"{float(f'{value:.2g}'):g}"


def seen_text(comparison: Comparison, share: float = 1.0) -> str:
    """Return `seen_size`, or a share of it, with its unit."""
    size = share * seen_size(comparison)
    return f"{percent(size)} %" if comparison.unit == "percent" else two_digits(size)


def rounded(count: int) -> int:
    """Return a count with two digits that count."""
    return int(float(f"{count:.2g}"))


def seen_size(comparison: Comparison) -> float:
    """Return half of the interval's width, rounded up as it is printed."""
    half = comparison.smallest_visible
    if comparison.unit == "difference":
        return float(f"{half:.2g}")
    return float(math.ceil(half)) if half >= 5 else math.ceil(10 * half) / 10


def cost_share(ratio: float) -> str:
    """Return a share of the cost in words: ``a sixth``; for more than all of it, ``1.6 times``."""
    if ratio >= 1.1:
        return f"{ratio:.2g} times as much" if ratio < 9.95 else f"{ratio:.0f} times as much"
    if ratio < 0.095:
        return f"{max(ratio, 0.01):.2f} times as much"
    return _FRACTIONS[min(_FRACTIONS, key=lambda known: abs(math.log(ratio / known)))]


def at_cost(ratio: float) -> str:
    """Return a share of the cost as the end of a sentence: ``at a sixth of the cost``."""
    if not math.isfinite(ratio):
        return ""
    words = cost_share(ratio)
    if words == "as much":
        return ", at about the same cost"
    if words.endswith(" as much"):
        return f", at {words.removesuffix(' as much')} the cost"
    return f", at {words} the cost" if words == "half" else f", at {words} of the cost"


def is_plural(name: str) -> bool:
    """Return whether a baseline is spoken of as several things."""
    return name in BASELINES and BASELINES[name].plural


def model_words(name: str) -> str:
    """Return a component of the saved model in words: ``a linear model``, ``extra trees``."""
    if name == SEPARATE:
        return "a separate network"
    return (name in BASELINES and BASELINES[name].in_words) or name
