"""The saved model in words: how it predicts the targets, and what that is worth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from jointrain.baselines import CONSTANT, JOINT
from jointrain.experiments import SEPARATE
from jointrain.reports._circumstances import MOST_NAMED, MOST_TABLES, Circumstances
from jointrain.reports._words import (
    listed,
    model_words,
    number,
    overall_change,
    targets_text,
)
from jointrain.studies import Decision
from jointrain.tables import Blend


def constants_of(decision: Decision, said: Circumstances) -> list[str]:
    """Return the targets that are not predicted, and that the saved model gives a constant for."""
    blends = said.blends or {}
    return [task for task in decision.unpredicted if set(blends.get(task, ())) == {CONSTANT}]


def saved_sentence(decision: Decision, said: Circumstances) -> list[str]:
    """Say in one line how the saved model predicts the targets."""
    if said.blends is None:
        return []
    constant = constants_of(decision, said)
    tasks = [task for task in said.tasks if task not in constant]
    if not tasks:
        return ["Nothing but the constant is saved; look at the notes on reading."]
    ways: dict[frozenset[str], list[str]] = {}
    for task in tasks:
        ways.setdefault(frozenset(said.blends[task]), []).append(task)
    alone = {task: next(iter(said.blends[task])) for task in tasks if len(said.blends[task]) == 1}
    if decision.what in ("baseline", "by target") and alone == {
        task: decision.targets[task] for task in tasks
    }:
        return ["That is what was saved." if decision.what == "baseline" else "Saved so."]
    if len(ways) == 1:
        made = _one_way(next(iter(ways)), tasks, said, decision)
    elif len(ways) <= 3 and len(tasks) <= MOST_NAMED:
        made = "; ".join(
            f"{listed(names)} by {_components(way, said, names)}" for way, names in ways.items()
        )
    else:
        made = _counted(ways, len(tasks), said)
    look = ""
    if len(ways) > 1 or len(next(iter(ways))) > 1:
        written = "report.md" if len(said.tasks) <= MOST_TABLES else "jointrain inspect"
        look = f"; {said.weights_in or written} has the weights"
    by = _reason(tasks, decision, said)
    # where other targets are predicted, the last sentence says so
    if constant and decision.what == "constant":
        by += f"; a constant for {targets_text(constant, 0)}"
    gain = _gain_of_saving(list(ways), said, all_targets=len(tasks) == len(said.tasks))
    return [f"Saved: {made}{by}{gain}{look}."]


def _reason(tasks: Sequence[str], decision: Decision, said: Circumstances) -> str:
    """Return why nothing that the decision names predicts the targets; nothing where it does."""
    assert said.blends is not None
    unsaved = [one for one in said.unsaved if one in decision.targets.values()]
    if unsaved:
        return f" ({model_words(unsaved[0])} can't be saved without code; fit it yourself)"
    if any(decision.targets[task] in said.blends[task] for task in tasks):
        return ""
    if said.cut_short:
        return " (the time was over before the rest was trained)"
    if said.networks_alone:
        return " (networks alone are trained on a table that is read in parts)"
    if all(set(said.blends[task]) == {CONSTANT} for task in tasks):
        return (
            " (on the rows that networks left out, what was chosen was not better than it beyond "
            "chance)"
        )
    return " (chosen by the rows that networks left out)"


def _one_way(
    way: frozenset[str], tasks: Sequence[str], said: Circumstances, decision: Decision
) -> str:
    """Return how all targets are predicted, if it is the same way."""
    count = len(tasks)
    (name,) = way if len(way) == 1 else (None,)
    if name is None:
        # a first look names more models than two
        named = {decision.chosen, decision.rival} if decision.basis != "no interval" else set()
        what = "a blend of both" if way == named else _components(way, said, tasks)
    elif name == SEPARATE:
        what = "a separate network"
        if count == len(said.tasks) > 1:
            return f"{what} for each"
    else:
        what = _component(name, said)
    if len(said.tasks) == 1:
        return what
    if count < len(said.tasks):
        return f"{what} for {targets_text(tasks, 0)}"
    if name is None and way == named:
        return what
    if name is not None and name not in said.ways:
        return what if name in JOINT else f"{what} for each"
    return f"{what} for {'both' if count == 2 else f'all {number(count)}'}"


def _counted(ways: Mapping[frozenset[str], Sequence[str]], total: int, said: Circumstances) -> str:
    """Return how many targets are predicted which way: single models by name, blends by size."""
    single = {next(iter(way)): len(names) for way, names in ways.items() if len(way) == 1}
    phrases = [
        f"{count} by {_component(name, said, plural=count > 1)}"
        for name, count in sorted(single.items(), key=lambda pair: -pair[1])
    ]
    sizes = [len(way) for way in ways if len(way) > 1]
    blended = sum(len(names) for way, names in ways.items() if len(way) > 1)
    if blended:
        span = f"{min(sizes)}" if min(sizes) == max(sizes) else f"{min(sizes)} to {max(sizes)}"
        phrases.append(f"{blended} by {'blends' if blended > 1 else 'a blend'} of {span}")
    first, *rest = phrases
    count, _, by = first.partition(" ")
    return ", ".join([f"{count} of {total} {by}", *rest])


def _components(way: frozenset[str], said: Circumstances, tasks: Sequence[str]) -> str:
    """Return the components of a way in words, the heaviest first."""
    assert said.blends is not None
    total = {name: sum(said.blends[task][name] for task in tasks) for name in way}
    names = sorted(way, key=lambda name: (-total[name], name))
    if len(names) == 1:
        return _component(names[0], said, plural=len(tasks) > 1)
    if len(names) > 3:
        each = [said.blends[task] for task in tasks]
        mostly = ""
        if all(weights[names[0]] > 0.5 for weights in each):
            mostly = f", mostly {_component(names[0], said)}"
        elif all(max(weights, key=lambda name: weights[name]) == names[0] for weights in each):
            mostly = f" led by {_component(names[0], said)}"
        return f"a blend of {len(names)}{mostly}"
    return f"a blend of {listed([_component(name, said) for name in names])}"


def _component(name: str, said: Circumstances, *, plural: bool = False) -> str:
    if name == SEPARATE:
        return "separate networks" if plural else model_words(name)
    if name not in said.ways:
        return model_words(name)
    return f"the {name} {'network' if said.single else 'ensemble'}"


def _gain_of_saving(
    ways: Sequence[frozenset[str]], said: Circumstances, *, all_targets: bool
) -> str:
    """Return what the saved model is worth on folds held out of its choice.

    Args:
        ways: How targets are predicted, but those that a constant is saved for.
        said: What is said beside the decision.
        all_targets: Whether there are no others: the figures are of all.
    """
    if said.saved_change is None or (all(len(way) == 1 for way in ways) and len(ways) == 1):
        return ""
    lead = ", " if len(ways) == 1 and all_targets else "; over all "
    if len(ways) == 1:
        changes = {name: said.saved_change(name) for name in ways[0] if name != CONSTANT}
        least = min(changes.values(), key=lambda one: one.change)
        if least.change > 0:
            than = " than either" if len(changes) == 2 else " than any of them alone"
            return f"{lead}{overall_change(least, than)} on held-out folds"
    change = said.saved_change(SEPARATE)
    if not math.isfinite(change.change):
        return ""
    return f"{lead}{overall_change(change, ' than apart')} on held-out folds"


def blend_text(blend: Blend) -> str:
    """Return the components of a blend with their weights, the heaviest first."""
    if len(blend.weights) == 1:
        return next(iter(blend.weights))
    ordered = sorted(blend.weights.items(), key=lambda pair: -pair[1])
    return " + ".join(f"{weight:.2f} {name}" for name, weight in ordered)
