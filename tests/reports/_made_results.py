"""Figures of made-up studies, said by target: what a decision and its sentences start from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from jointrain.reports._answer import answer_sentences
from jointrain.reports._circumstances import Circumstances
from jointrain.studies import Comparison, Decision, StudyFigures, decide

Change = tuple[float, float, float]
NAN = float("nan")
MARGIN = 1.0

WAYS = {"separate": "apart", "joint": "together", "alternating": "in alternation"}


def comparison(change: Change | float, **more) -> Comparison:
    """Return a comparison whose verdict follows from its interval."""
    value, low, high = change if isinstance(change, tuple) else (change, NAN, NAN)
    verdict = "undecided"
    if low >= -MARGIN and high <= MARGIN:
        verdict = "equivalent"
    elif low > 0:
        verdict = "better"
    elif high < 0:
        verdict = "worse"
    settings = {"p_value": 0.5, "verdict": verdict, "defined": 15, "total": 15} | more
    return Comparison(value, low, high, **settings)


@dataclass
class Made:
    """A made-up study.

    Args:
        tasks: Names of the targets.
        joint: Joint against separate over all targets.
        by_task: The same by target; `joint` where a target is left out.
        lacks: In how many runs a recipe has no value of a target, by both names.
        work: Of a fold; joint takes a tenth of separate if it is not said.
        others: Further recipes and baselines against separate over all targets, which is also their
            change against joint, unless `against` says another one.
        against: By pair of names.
        constant: Every model against the constant by target; +50 % where a target is left out.
        blends: The saved model; None saves none.
        cut_short: Whether the time was over before all of it was trained.
        networks_alone: Whether what is saved had to be a network.
        sampled: Whether the rows are a sample, drawn since the time did not pay for all.
        chosen: The recipe that the validation rows choose, with one test set; None with folds.
    """

    tasks: Sequence[str]
    joint: Change | float | Comparison = 0.0
    by_task: Mapping[str, Change | Comparison] = field(default_factory=dict)
    work: Mapping[str, float] = field(default_factory=lambda: {"separate": 10, "joint": 1})
    others: Mapping[str, Change] = field(default_factory=dict)
    against: Mapping[tuple[str, str], Change] = field(default_factory=dict)
    constant: Mapping[str, Change] = field(default_factory=dict)
    rows: int = 300
    folds: int = 5
    seeds: int = 1
    blends: Mapping[str, Mapping[str, float]] | None = None
    saved_change: Mapping[str, Change] | None = None
    scarce: Mapping[str, str] = field(default_factory=dict)
    networks: Sequence[str] = ("separate", "joint")
    cut_short: bool = False
    networks_alone: bool = False
    sampled: bool = False
    chosen: str | None = None
    by_task_of: Mapping[tuple[str, str], Mapping[str, Change]] = field(default_factory=dict)
    lacks: Mapping[tuple[str, str], int] = field(default_factory=dict)

    def _by_task(self, model: str, reference: str) -> dict[str, Comparison]:
        if reference == "constant":
            better = dict.fromkeys(self.tasks, (50.0, 40.0, 60.0))
            return {task: comparison(c) for task, c in (better | dict(self.constant)).items()}
        if (model, reference) == ("joint", "separate"):
            given = {task: self.by_task.get(task, self.joint) for task in self.tasks}
            return {
                task: c if isinstance(c, Comparison) else comparison(c) for task, c in given.items()
            }
        given = self.by_task_of.get((model, reference), {})
        return {
            task: comparison(given[task]) if task in given
            else self._overall(model, reference, (), 1)
            for task in self.tasks
        }  # fmt: skip

    def _overall(self, model: str, reference: str, tasks: Sequence[str], among: int) -> Comparison:
        if (model, reference) == ("joint", "separate"):
            return self.joint if isinstance(self.joint, Comparison) else comparison(self.joint)
        return comparison(self.against.get((model, reference), self.others.get(model, 0.0)))

    def decision(self) -> Decision:
        """Return what is decided."""
        baselines = [name for name in self.others if name not in self.networks]
        return decide(
            StudyFigures(
                tuple(self.tasks), tuple(self.networks),
                "joint" if "joint" in self.networks else None, tuple(baselines), True,
                self._by_task, self._overall, self.work, self.folds,
                lambda name, _, task: self.lacks.get((name, task), 0),
            )
        )  # fmt: skip

    def sentences(self) -> list[str]:
        """Return the answer."""
        said = Circumstances(
            tuple(self.tasks), self.rows, self.folds, self.seeds,
            {name: WAYS.get(name, f"by recipe {name}") for name in self.networks},
            blends=self.blends, scarce=self.scarce, cut_short=self.cut_short,
            networks_alone=self.networks_alone,
            sampled=self.sampled,
            fixed_test=self.chosen is not None, chosen=self.chosen,
            saved_change=None if self.saved_change is None
            else lambda name: comparison(self.saved_change[name]),
        )  # fmt: skip
        return answer_sentences(self.decision(), said)


def saved(tasks: Sequence[str], *names: str) -> dict[str, dict[str, float]]:
    """Return blends of the same components, each with the same weight, for all targets."""
    return {task: dict.fromkeys(names, float(np.round(1 / len(names), 3))) for task in tasks}
