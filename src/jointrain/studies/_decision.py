"""Decision: what a study says to do with each target, taken from its figures in a written order.

1. Targets that no model is shown to predict better than a constant are set apart.
2. A baseline that is shown to beat every network over the other targets is the answer.
3. Else together or apart: by the verdict over the targets; by target where verdicts differ.
4. Another recipe only where it is shown to beat the better of the two, and what is chosen else.
5. Equivalent or undecided: the cheaper one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from jointrain.baselines import CONSTANT
from jointrain.experiments import SEPARATE
from jointrain.studies._statistics import FEWEST_FOLDS, Comparison, Verdict

CHEAPER = 0.9
"""Together counts as cheaper than apart if it takes less than this share of the work."""

What = Literal["together", "apart", "by target", "baseline", "constant"]
"""What to do; ``by target``: not the same for all that can be predicted."""

Basis = Literal[Verdict, "no interval"]


@dataclass(frozen=True)
class StudyFigures:
    """What a decision is taken from.

    Args:
        tasks: Names of the targets.
        networks: Names of the recipes; ``separate`` is one of them.
        together: The recipe that stands for training together; None if only ``separate`` was run.
        baselines: Names of the baselines but the constant.
        has_constant: Whether the constant was measured.
        by_task: How a model compares with another one, by target; called with their names.
        overall: The same over some targets; called with both names, the targets, and among how many
            models the answer picks.
        work: What the training on a fold costs, by recipe, see `training_work`.
        folds: How many folds of a repetition were measured; with one fixed test set, how many
            seeds.
        lacks: In how many runs a recipe has no value of a target where another one has; called with
            both names and the target. Default: in none.
    """

    tasks: tuple[str, ...]
    networks: tuple[str, ...]
    together: str | None
    baselines: tuple[str, ...]
    has_constant: bool
    by_task: Callable[[str, str], Mapping[str, Comparison]]
    overall: Callable[[str, str, Sequence[str], int], Comparison]
    work: Mapping[str, float]
    folds: int
    lacks: Callable[[str, str, str], int] = lambda *_: 0


@dataclass(frozen=True)
class Decision:
    """What to do with each target, and the figures that say so.

    Args:
        what: What to do.
        basis: What the figures show of training together against apart over the targets that are
            judged; for a baseline or another recipe ``better``.
        targets: What is to predict each target: a recipe, a baseline or ``constant``.
        network: The recipe that would be chosen if there were no baselines.
        judged: The targets that the decision rests on.
        unpredicted: Targets that no model is shown to predict better than a constant.
        excluded: Those of them where every model's interval excludes a gain beyond the margin.
        unscored: Targets whose metric is undefined in too many folds for a verdict.
        overall: The figure that decides, over the targets that are judged: together against apart;
            where a baseline or another recipe is chosen, that one against the best of what it
            beats. None if nothing could be compared.
        against: What `overall` is measured against.
        by_task: Together, or the other recipe that is chosen, against apart, by target.
        compared: Which recipe `by_task` is of.
        cost: Work of training together over that of training apart; NaN if unknown.
        rival: The best baseline that is not shown to be worse than the chosen network, if any;
            where there are no intervals, the best one that looks better than every network.
        rival_change: How it compares with that network over the targets that are judged; where
            there are no intervals, with the network that comes next to it.
        beats_apart: Where together is not shown to beat apart, and one of both is chosen: the best
            of the other recipes that are shown to, if any.
        beats_apart_change: How it compares with apart over the targets that are judged.
        baseline: The baseline that is the answer, though it need not predict most targets; None if
            none is.
        failed: Targets without a verdict of which together or apart lacks values that the other one
            has, as where its training diverged: which of the two, and in how many runs.
    """

    what: What
    basis: Basis
    targets: Mapping[str, str]
    network: str
    judged: tuple[str, ...] = ()
    unpredicted: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    unscored: tuple[str, ...] = ()
    overall: Comparison | None = None
    against: str = SEPARATE
    by_task: Mapping[str, Comparison] | None = None
    compared: str = ""
    cost: float = math.nan
    rival: str | None = None
    rival_change: Comparison | None = None
    beats_apart: str | None = None
    beats_apart_change: Comparison | None = None
    baseline: str | None = None
    failed: Mapping[str, tuple[str, int]] = field(default_factory=dict)

    @property
    def chosen(self) -> str:
        """The baseline that is the answer, else what predicts most of the targets that are judged.

        Of equals, what is named first.
        """
        if self.baseline is not None:
            return self.baseline
        given = [self.targets[task] for task in self.judged or self.targets]
        return max(dict.fromkeys(given), key=given.count)

    def to_json(self) -> dict[str, Any]:
        """Return the decision as values that JSON can hold."""
        return {
            "what": self.what,
            "basis": self.basis,
            "targets": dict(self.targets),
            "not_predicted": list(self.unpredicted),
            "no_verdict": list(self.unscored),
            "cost_of_together": None if math.isnan(self.cost) else round(self.cost, 3),
        }


def decide(figures: StudyFigures) -> Decision:
    """Return what the figures say to do; the order is that of this module's first lines."""
    together = figures.together
    measured = figures.by_task(together, SEPARATE) if together is not None else {}
    failed = _failed(figures)
    if figures.folds < FEWEST_FOLDS:
        decision = _first_look(figures, figures.tasks, measured)
        targets = {**decision.targets, **_other_way(figures, failed)}
        return replace(decision, targets=targets, failed=failed)
    unscored = tuple(
        task for task in figures.tasks if task in measured and not has_interval(measured[task])
    )
    unpredicted, excluded = _unpredicted(figures, unscored)
    judged = tuple(task for task in figures.tasks if task not in (*unpredicted, *unscored))
    if not judged and unpredicted:
        decision = Decision("constant", "undecided", {}, together or SEPARATE, by_task=measured)
    elif not judged:
        decision = _first_look(figures, figures.tasks, measured)
    else:
        decision = _networks_or_baseline(figures, judged, measured)
    failed = {task: one for task, one in failed.items() if task in unscored}
    targets = {
        task: CONSTANT if task in unpredicted else decision.targets.get(task, decision.network)
        for task in figures.tasks
    }
    return replace(
        decision, targets=targets | _other_way(figures, failed), judged=judged,
        unpredicted=unpredicted, excluded=excluded, unscored=unscored, failed=failed,
    )  # fmt: skip


def _failed(figures: StudyFigures) -> dict[str, tuple[str, int]]:
    """Return `Decision.failed`."""
    together = figures.together
    if together is None:
        return {}
    found = {}
    for task in figures.tasks:
        runs, of_apart = (
            figures.lacks(together, SEPARATE, task),
            figures.lacks(SEPARATE, together, task),
        )
        if runs != of_apart:
            found[task] = (together, runs) if runs > of_apart else (SEPARATE, of_apart)
    return found


def _other_way(figures: StudyFigures, failed: Mapping[str, tuple[str, int]]) -> dict[str, str]:
    """Return what predicts the targets of `Decision.failed`: what has their values."""
    together = figures.together or SEPARATE
    return {task: together if one == SEPARATE else SEPARATE for task, (one, _) in failed.items()}


def has_interval(comparison: Comparison) -> bool:
    """Return whether a comparison has an interval, and so can have a verdict."""
    return math.isfinite(comparison.low) and math.isfinite(comparison.high)


def _unpredicted(
    figures: StudyFigures, unscored: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the targets that nothing is shown to predict, and those where gains are excluded."""
    if not figures.has_constant:
        return (), ()
    models = [*figures.networks, *figures.baselines]
    against = [figures.by_task(model, CONSTANT) for model in models]

    def excludes_a_gain(comparison: Comparison) -> bool:
        if comparison.verdict in ("worse", "equivalent"):
            return True
        return comparison.high <= comparison.margin

    unpredicted = tuple(
        task
        for task in figures.tasks
        if task not in unscored and not any(each[task].verdict == "better" for each in against)
    )
    excluded = tuple(
        task for task in unpredicted if all(excludes_a_gain(each[task]) for each in against)
    )
    return unpredicted, excluded


def _networks_or_baseline(
    figures: StudyFigures, judged: tuple[str, ...], measured: Mapping[str, Comparison]
) -> Decision:
    decision = _other_recipe(figures, judged, _together_or_apart(figures, judged, measured))
    network = max(
        dict.fromkeys(decision.targets.values()), key=list(decision.targets.values()).count
    )
    decision = replace(decision, network=network)
    winners = {}
    for name in figures.baselines:
        over = {
            other: figures.overall(name, other, judged, len(figures.baselines))
            for other in figures.networks
        }
        if all(comparison.verdict == "better" for comparison in over.values()):
            winners[name] = min(over.items(), key=lambda pair: pair[1].change)
    if winners:
        best = max(winners, key=lambda name: winners[name][1].change)
        beaten, least = winners[best]
        by_task = figures.by_task(best, network)
        targets = {
            task: decision.targets[task] if by_task[task].verdict == "worse" else best
            for task in judged
        }
        return replace(
            decision, what="baseline", basis="better", targets=targets, overall=least,
            against=beaten, baseline=best,
        )  # fmt: skip
    rivals = {
        name: figures.overall(name, network, judged, len(figures.baselines))
        for name in figures.baselines
    }
    best = max(rivals, key=lambda name: _sortable(rivals[name].change), default="")
    if best and rivals[best].verdict != "worse" and has_interval(rivals[best]):
        return replace(decision, rival=best, rival_change=rivals[best])
    return decision


def _together_or_apart(
    figures: StudyFigures, judged: tuple[str, ...], measured: Mapping[str, Comparison]
) -> Decision:
    """Return what rules 3 and 5 say."""
    together = figures.together
    if together is None:
        return Decision("apart", "no interval", dict.fromkeys(judged, SEPARATE), SEPARATE)
    overall = figures.overall(together, SEPARATE, judged, len(figures.networks) - 1)
    cost = _cost(figures, together)
    helped = [task for task in judged if measured[task].verdict == "better"]
    hurt = [task for task in judged if measured[task].verdict == "worse"]
    basis: Basis = overall.verdict if has_interval(overall) else "no interval"
    if helped and hurt:
        apart = hurt
    elif basis == "worse":
        apart = [task for task in judged if task not in helped]
    elif basis == "better" or helped:
        apart = hurt
    elif cost + len(hurt) / len(judged) < CHEAPER:
        # those that are hurt are trained alone, beside the network of all
        apart = hurt
    else:
        apart = list(judged)
    targets = {task: SEPARATE if task in apart else together for task in judged}
    what: What = "by target"
    if len(set(targets.values())) == 1:
        what = "apart" if apart else "together"
    return Decision(
        what, basis, targets, together, overall=overall, by_task=measured, cost=cost
    )  # fmt: skip


def _other_recipe(figures: StudyFigures, judged: tuple[str, ...], decision: Decision) -> Decision:
    """Return the decision, or another recipe that is shown to beat it and the better of the two."""
    others = [name for name in figures.networks if name not in (SEPARATE, figures.together)]
    chosen = dict.fromkeys(decision.targets.values())
    # what is chosen as the cheaper one may be the worse of the two
    change = math.nan if decision.overall is None else decision.overall.change
    better = [SEPARATE] if change < 0 else [figures.together] if change > 0 else []
    winners = {}
    for name in others:
        over = {
            base: figures.overall(name, base, judged, len(others))
            for base in dict.fromkeys([*chosen, *better])
        }
        if all(comparison.verdict == "better" for comparison in over.values()):
            winners[name] = min(over.items(), key=lambda pair: pair[1].change)
    if not winners:
        return _with_what_beats_apart(figures, judged, others, decision)
    best = max(winners, key=lambda name: winners[name][1].change)
    beaten, least = winners[best]
    worse = {
        base: {task for task, c in figures.by_task(best, base).items() if c.verdict == "worse"}
        for base in chosen
    }
    targets = {
        task: base if task in worse[base] else best for task, base in decision.targets.items()
    }
    same = len(set(targets.values())) == 1
    return replace(
        decision, what="together" if same else "by target", basis="better", targets=targets,
        overall=least, against=beaten, cost=_cost(figures, best),
        by_task=figures.by_task(best, SEPARATE), compared=best,
    )  # fmt: skip


def _with_what_beats_apart(
    figures: StudyFigures, judged: tuple[str, ...], others: Sequence[str], decision: Decision
) -> Decision:
    """Name a recipe that is shown to beat apart, where together is not."""
    if decision.what == "by target" or decision.basis == "better":
        return decision
    over = {name: figures.overall(name, SEPARATE, judged, len(others) + 1) for name in others}
    shown = {name: change for name, change in over.items() if change.verdict == "better"}
    if not shown:
        return decision
    best = max(shown, key=lambda name: shown[name].change)
    return replace(decision, beats_apart=best, beats_apart_change=shown[best])


def _first_look(
    figures: StudyFigures, tasks: Sequence[str], measured: Mapping[str, Comparison]
) -> Decision:
    """Return the cheaper way, where no interval says more."""
    together = figures.together
    if together is None:
        return Decision("apart", "no interval", dict.fromkeys(tasks, SEPARATE), SEPARATE)
    cost = _cost(figures, together)
    failed = {name for name, _ in _failed(figures).values()}
    # a way of which values are missing is no way to take, whatever it costs
    cheaper = cost < CHEAPER and together not in failed
    what: What = "together" if cheaper or failed == {SEPARATE} else "apart"
    name = together if what == "together" else SEPARATE
    decision = Decision(
        what,
        "no interval",
        dict.fromkeys(tasks, name),
        name,
        overall=figures.overall(together, SEPARATE, tasks, 1),
        by_task=measured,
        cost=cost,
    )
    least = {
        baseline: min(
            (figures.overall(baseline, network, tasks, 1) for network in figures.networks),
            key=lambda comparison: _sortable(comparison.change),
        )
        for baseline in figures.baselines
    }
    best = max(least, key=lambda baseline: _sortable(least[baseline].change), default="")
    if best and _sortable(least[best].change) > 0:
        return replace(decision, rival=best, rival_change=least[best])
    return decision


def _cost(figures: StudyFigures, name: str) -> float:
    apart = figures.work.get(SEPARATE, math.nan)
    return figures.work.get(name, math.nan) / apart if apart else math.nan


def _sortable(change: float) -> float:
    return change if math.isfinite(change) else -math.inf
