"""The answer: a decision in at most four sentences.

What to do; what that rests on; what was saved; what could not be seen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from jointrain.baselines import CONSTANT, JOINT
from jointrain.experiments import SEPARATE
from jointrain.reports._circumstances import MOST_NAMED, Circumstances
from jointrain.reports._saved_model import constants_of, saved_sentence
from jointrain.reports._words import (
    at_cost,
    better_or_worse,
    beyond_margin,
    cost_share,
    is_plural,
    listed,
    model_words,
    not_counted,
    number,
    overall_change,
    rounded,
    seen_text,
    size_and_interval,
    targets_text,
)
from jointrain.studies import CHEAPER, FEWEST_FOLDS, VERDICTS, Comparison, Decision, Verdict

MOST_SENTENCES = 4

ENOUGH_SEEDS = 3
"""With so many repetitions, more of them hardly narrow an interval: folds share their rows."""

ENOUGH_FOLDS = 5
"""With fewer folds, intervals are so wide that hardly anything is shown."""


def answer_sentences(decision: Decision, said: Circumstances) -> list[str]:
    """Return the sentences of an answer, the most important first.

    Args:
        decision: What to do with each target.
        said: What the sentences say beside it.
    """
    first, *basis = _what_to_do(decision, said)
    before = _unscored(decision, said)
    last = [
        *saved_sentence(decision, said),
        *_unpredicted(decision, said),
        *_of_one_test(decision, said),
    ]
    if before and decision.basis != "no interval":
        first = f"The rest: {first[0].lower()}{first[1:]}"
    room = MOST_SENTENCES - len(before) - 1 - len(last)
    return [*before, first, *basis[: max(room, 0)], *last]


def _of_one_test(decision: Decision, said: Circumstances) -> list[str]:
    """Say what seeds on one test set can show, and what the validation rows chose."""
    if not said.fixed_test:
        return []
    seeds = f"{said.seeds} seed{'s' * (said.seeds != 1)}"
    return [
        f"Figures are of {seeds} on one test set, so they hold for other seeds and not for other "
        f"test rows{_kept(decision, said)}."
    ]


def _kept(decision: Decision, said: Circumstances) -> str:
    """Name the recipe of the model to keep; where the advice is another one, say why."""
    if said.chosen is None:
        return ""
    kept = f". The model to keep is of {said.chosen}"
    if said.folds < FEWEST_FOLDS or set(decision.targets.values()) == {said.chosen}:
        return f"{kept}, by the validation rows"
    advice = "goes by the test rows, which may not choose it"
    shown = decision.basis in ("better", "worse") or decision.by_task is None
    if not (shown or _of_verdict(decision, "better") or _of_verdict(decision, "worse")):
        advice = f"is but the {'plain' if math.isnan(decision.cost) else 'cheaper'} way"
    return f"{kept}, the best on the validation rows; the advice above {advice}"


def _what_to_do(decision: Decision, said: Circumstances) -> list[str]:
    """Say what to do, and what that rests on."""
    if decision.what == "constant":
        return [_nothing_predicted(decision, said)]
    if said.folds < FEWEST_FOLDS:
        return _first_look(decision, said)
    if decision.what == "baseline":
        return [_baseline(decision, said)]
    if len(said.tasks) == 1:
        return [f"There is one target, and so nothing to train together{_rival(decision, said)}."]
    targets = targets_text(decision.judged or said.tasks, len(said.tasks))
    overall = decision.overall
    if overall is None:
        tried = f"Train {targets} apart: no other way of training was tried"
        return [f"{tried}{_rival(decision, said)}."]
    if decision.basis == "no interval":
        if decision.failed:
            how = _by_way(decision.judged or said.tasks, decision, said)
            return [f"Nothing can be judged: train {how}."]
        way = said.ways[decision.network]
        return [f"Nothing can be judged: train {targets} {way}, the cheaper way."]
    first = _by_target(decision, said) if decision.what == "by target" else ""
    if decision.against != SEPARATE or decision.network not in (SEPARATE, said.together):
        way = said.ways[decision.network]
        gain = overall_change(overall, f" than {said.ways[decision.against]}")
        first = first or f"Train {targets} {way}: {gain}"
        return [f"{first}{_rival(decision, said)}.", *_other_targets(decision)]
    if first:
        gain = overall_change(overall, " than apart")
        basis = [f"Over these targets {said.ways[said.together]} is {gain}."]
    else:
        first, basis = _together_or_apart(decision, said, targets, overall)
        first += _what_beats_apart(decision, said)
    return [f"{first}{_rival(decision, said)}.", *basis]


def _together_or_apart(
    decision: Decision, said: Circumstances, targets: str, overall: Comparison
) -> tuple[str, list[str]]:
    """Return the first sentence where all targets are trained alike, and what it rests on."""
    way = said.ways[said.together]
    known = math.isfinite(decision.cost)
    share = cost_share(decision.cost) if known else ""
    together = decision.what == "together"
    if overall.verdict == "better":
        gain = overall_change(overall, " than apart")
        return f"Train {targets} {way}: {gain}{at_cost(decision.cost)}", _other_targets(decision)
    if overall.verdict == "worse":
        gain = overall_change(overall)
        return f"Train {targets} apart: {way} is {gain}", _other_targets(decision)
    no_matter = f"t makes no difference{beyond_margin(overall)}"
    shown = _of_verdict(decision, "better" if together else "worse")
    if shown:
        lead = f"Train {targets} {way}" if together else f"Train {targets} apart: {way}"
        figures = _figures(shown, decision)
        over_all = "the data do not decide"
        if overall.verdict == "equivalent":
            over_all = f"i{no_matter}"
        return (
            f"{lead}{':' if together else ''} {figures}; over all targets {over_all}",
            [f"Over all targets {way} is {overall_change(overall, ' than apart')}."],
        )
    if overall.verdict == "equivalent":
        what = f"{way}, it costs {share}" if together else f"apart, {way} costs {share}"
        if not known:
            what = way if together else "apart"
        return (
            f"I{no_matter}: train {what}",
            [f"{way.capitalize()} is {overall_change(overall, ' than apart')}."],
        )
    return _undecided(decision, said, overall)


def _undecided(
    decision: Decision, said: Circumstances, overall: Comparison
) -> tuple[str, list[str]]:
    """Say how small a difference could not be seen, and what to do all the same."""
    way = said.ways[said.together].capitalize()
    seen, half = seen_text(overall), seen_text(overall, 1 / 2)
    add = "add rows" if said.seeds >= ENOUGH_SEEDS else "add seeds or rows"
    if said.sampled:
        add = "give a larger --budget"
    # the width of an interval falls with the square root of the rows
    more = f"{add} (about {rounded(4 * said.rows):,} rows would show {half})"
    with_what = f"{said.rows:,} rows"
    if not said.rows:  # of a loop of one's own they are not known
        more, with_what = add, f"{number(said.folds)} splits"
    if said.fixed_test:
        more = f"add seeds (about {4 * said.seeds} would show {half})"
        with_what = f"{said.seeds} seeds"
    if _beaten(decision):
        advice = f"prefer {model_words(decision.rival or '')}, or {more}"
    elif decision.what == "together":
        advice = f"take it unless such a difference matters, then {more}"
    else:
        advice = f"stay apart, and where such a difference matters {more}"
    return (
        f"The data do not decide: differences under {seen} could not be seen with {with_what}"
        f"{not_counted(overall)}",
        [f"{way} costs {cost_share(decision.cost)}; {advice}."]
        if math.isfinite(decision.cost)
        else [f"{advice[0].upper()}{advice[1:]}."],
    )


def _by_target(decision: Decision, said: Circumstances) -> str:
    """Say which targets are trained how, and why."""
    groups: dict[str, list[str]] = {}
    for task in decision.judged:
        groups.setdefault(decision.targets[task], []).append(task)
    # what is trained together comes first
    ordered = sorted(groups.items(), key=lambda group: group[0] == SEPARATE)
    compared = decision.compared or said.together
    way = said.ways[compared]
    phrases = []
    for name, tasks in ordered:
        apart = name == SEPARATE
        found = _of_verdict(decision, "worse" if apart else "better")
        shown = [task for task in found if task in tasks and name in (SEPARATE, compared)]
        why = ""
        if shown and apart and len(tasks) == 1:
            why = f" ({way} it is {better_or_worse(_change(decision, tasks[0]))})"
        elif shown:
            why = f" ({f'{way} ' if apart else ''}{_figures(shown, decision)})"
        elif not apart and decision.cost < CHEAPER:
            words = [one for one in VERDICTS if any(t in tasks for t in _of_verdict(decision, one))]
            why = f" ({' or '.join(words)}, and it costs {cost_share(decision.cost)})"
        alone = "" if apart or len(tasks) > 1 else " with the others"
        many = len(tasks) > MOST_NAMED
        names = f"{len(tasks):,} of {len(said.tasks):,} targets" if many else listed(tasks)
        phrases.append(f"{names} {said.ways[name]}{alone}{why}")
    return f"Train {' and '.join(phrases)}"


def _figures(names: Sequence[str], decision: Decision) -> str:
    """Return the changes of up to three targets, the largest first; of many the largest alone."""
    ordered = sorted(names, key=lambda name: -abs(_change(decision, name).change))
    shown = [f"{name} {better_or_worse(_change(decision, name))}" for name in ordered[:3]]
    if len(ordered) > MOST_NAMED:
        return f"{shown[0]}, and {len(ordered) - 1:,} more"
    more = len(ordered) - len(shown)
    return listed([*shown, f"{more} more"] if more else shown)


def _change(decision: Decision, task: str) -> Comparison:
    assert decision.by_task is not None
    return decision.by_task[task]


def _of_verdict(decision: Decision, verdict: Verdict) -> list[str]:
    return [task for task in decision.judged if _change(decision, task).verdict == verdict]


def _other_targets(decision: Decision) -> list[str]:
    """Say for which targets the verdict is which, unless it is that over all targets."""
    found = {word: _of_verdict(decision, word) for word in VERDICTS}
    found = {word: names for word, names in found.items() if names}
    overall = decision.overall
    if len(decision.judged) < 2 or (overall is not None and list(found) == [overall.verdict]):
        return []
    few = len(decision.judged) <= MOST_NAMED
    phrases = [
        f"{word} for {listed(names) if few else number(len(names))}"
        for word, names in found.items()
    ]
    return [f"Against apart, by target: {', '.join(phrases)}."]


def _baseline(decision: Decision, said: Circumstances) -> str:
    """Say that a baseline beats every network."""
    assert decision.overall is not None
    name, overall = decision.chosen, decision.overall
    with_it = [task for task in decision.judged if decision.targets[task] == name]
    each = " for each" if len(with_it) > 1 and name not in JOINT else ""
    where, over, but = "", "", ""
    if len(with_it) < len(said.tasks) - len(decision.unpredicted):
        each, where = "", f" for {targets_text(with_it, 0)}"
    others = [task for task in decision.judged if task not in with_it]
    if others:
        over = f" over {targets_text(decision.judged, len(said.tasks))}"
        but = f"; train {_by_way(others, decision, said)}"
    beats, it = ("beat", "they") if is_plural(name) else ("beats", "it")
    networks = "every network, joint or apart," if len(said.ways) > 1 else "separate networks"
    return (
        f"Use {model_words(name)}{each}{where}: {it} {beats} {networks}{over} by "
        f"{size_and_interval(overall)}{not_counted(overall)}{but}."
    )


def _by_way(tasks: Sequence[str], decision: Decision, said: Circumstances) -> str:
    """Return how a recipe is to train each of some targets: ``a and b together and c apart``."""
    ways: dict[str, list[str]] = {}
    for task in tasks:
        ways.setdefault(said.ways[decision.targets[task]], []).append(task)
    return " and ".join(f"{listed(names, 4)} {way}" for way, names in ways.items())


def _beaten(decision: Decision) -> bool:
    """Return whether a baseline is shown to beat the network, though not every network."""
    return decision.rival_change is not None and decision.rival_change.verdict == "better"


def _rival(decision: Decision, said: Circumstances) -> str:
    """Return what is said of a baseline that is not shown to be worse than the networks."""
    if decision.rival is None or decision.rival_change is None:
        return ""
    verb = "do" if is_plural(decision.rival) else "does"
    name, change = model_words(decision.rival), size_and_interval(decision.rival_change)
    change += not_counted(decision.rival_change).replace(" (", ", ").removesuffix(")")
    if _beaten(decision):
        than = f"{verb} better than {said.ways[decision.network]} ({change})"
        return f"; {name} {than}, though not shown to beat every network"
    if decision.rival_change.verdict == "equivalent":
        return f"; {name} {verb} as well (difference {change})"
    if decision.rival_change.change < -decision.rival_change.margin:
        return f"; whether {name} {verb} as well is not decided (difference {change})"
    return f"; {name} {verb} as well, as far as the data show (difference {change})"


def _what_beats_apart(decision: Decision, said: Circumstances) -> str:
    """Return what is said of a recipe that is shown to beat apart, where together is not."""
    if decision.beats_apart is None or decision.beats_apart_change is None:
        return ""
    gain = overall_change(decision.beats_apart_change, " than apart")
    better = f"{said.ways[decision.beats_apart]} it is {gain}"
    return f"; {better}, though not shown to beat {said.ways[said.together]}"


def _first_look(decision: Decision, said: Circumstances) -> list[str]:
    unit = "seed" if said.fixed_test else "fold"
    remedy = f"Run with --{unit}s 5"
    if said.cut_by_budget:
        remedy = "Give a larger --budget"
    elif said.own_splits and not said.fixed_test:
        remedy = "Give the experiment five splits"
    first = (
        f"{number(said.folds).capitalize()} {unit}{'s give' if said.folds != 1 else ' gives'} no "
        f"interval: these figures are a first look. {remedy}."
    )
    if decision.overall is None or not math.isfinite(decision.overall.change):
        return [first]
    way = said.ways[said.together]
    gain = overall_change(replace(decision.overall, low=math.nan, high=math.nan), " than apart")
    rival = ""
    if decision.rival is not None and decision.rival_change is not None:
        verb = "are" if is_plural(decision.rival) else "is"
        change = replace(decision.rival_change, low=math.nan, high=math.nan)
        than = " than every network" if len(said.ways) > 1 else " than separate networks"
        rival = f"; {model_words(decision.rival)} {verb} {overall_change(change, than)}"
    return [first, f"In them {way} is {gain}{at_cost(decision.cost)}{rival}."]


def _nothing_predicted(decision: Decision, said: Circumstances) -> str:
    # of a target without a verdict nothing is said here
    named = targets_text(decision.unpredicted, 0) if decision.unscored else ""
    if set(decision.excluded) == set(decision.unpredicted):
        predicted = f"do not predict {named}" if named else "predict none of the targets"
        first = f"These columns {predicted}: everything that was tried is no better than a constant"
    elif said.folds < ENOUGH_FOLDS and any(
        set(blend) != {CONSTANT} for blend in (said.blends or {}).values()
    ):
        # single rows say what so few folds can't
        advice = "add seeds or rows"
        if said.cut_by_budget:
            advice = "give a larger --budget"
        elif said.seeds >= ENOUGH_SEEDS:
            advice = "add rows"
        first = (
            f"{number(said.folds).capitalize()} folds of {said.rows:,} rows can't tell any model "
            "from a constant, though the rows that networks left out speak for models: "
            f"{advice}"
        )
    else:
        first = (
            f"These columns are not shown to predict {named or 'any of the targets'}: nothing that "
            f"was tried is shown to be better than a constant with {said.rows:,} rows"
        )
    return f"{first}."


def _unscored(decision: Decision, said: Circumstances) -> list[str]:
    """Name the targets that can't be scored in enough folds."""
    unscored = [task for task in decision.unscored if task not in decision.failed]
    found = _without_values(decision, said)
    if unscored and decision.by_task is not None:
        found.append(_rarely_scored(unscored, decision.by_task, said))
    return [f"{'; '.join(found)}."] if found else []


def _rarely_scored(
    unscored: Sequence[str], by_task: Mapping[str, Comparison], said: Circumstances
) -> str:
    counts = {_defined(by_task[task]) for task in unscored}
    few = len(unscored) <= 3
    why = [said.scarce[task] for task in unscored if task in said.scarce]
    where = f" ({'; '.join(why)})" if why and few else ""
    least, total = min(counts)
    most = max(counts)[0]
    often = f"{least}" if least == most else f"{least} to {most}"
    it = "it" if len(unscored) == 1 else "them"
    names = targets_text(unscored, 0)
    if least == total:
        units = "seeds" if said.fixed_test else "folds"
        return f"{names}: the {units} do not tell how sure the changes are, so there is no verdict"
    of = f"with {often} of {total} seeds" if said.fixed_test else f"in {often} of {total} folds"
    return f"{names} can be scored {of} only{where}: no verdict for {it}"


def _without_values(decision: Decision, said: Circumstances) -> list[str]:
    """Name the targets of which together or apart lacks values, and how to train them."""
    phrases = []
    for name in dict.fromkeys(name for name, _ in decision.failed.values()):
        found = {task: runs for task, (of, runs) in decision.failed.items() if of == name}
        assert decision.by_task is not None
        total = max(decision.by_task[task].total for task in found)
        least, most = min(found.values()), max(found.values())
        often = f"{least}" if least == most else f"{least} to {most}"
        it = "it" if len(found) == 1 else "them"
        way = f", train {it} {said.ways[decision.targets[next(iter(found))]]}"
        phrases.append(
            f"{name} gave no value of {targets_text(list(found), 0)} in {often} of {total} runs: "
            f"no verdict for {it}{way if decision.judged else ''}"
        )
    return phrases


def _defined(comparison: Comparison) -> tuple[int, int]:
    return comparison.defined, comparison.total


def _unpredicted(decision: Decision, said: Circumstances) -> list[str]:
    """Name the targets that are not predicted better than by a constant, if there are others."""
    if decision.what == "constant" or not decision.unpredicted:
        return []
    maybe = [task for task in decision.unpredicted if task not in decision.excluded]
    parts = []
    if decision.excluded:
        parts.append(f"do not predict {targets_text(decision.excluded, 0)}")
    if maybe:
        parts.append(f"are not shown to predict {targets_text(maybe, 0)}")
    saved = constants_of(decision, said)
    which = "them" if len(decision.unpredicted) > 1 else "it"
    if len(saved) == len(decision.unpredicted):
        parts[-1] += f": a constant is saved for {which}"
    elif saved:
        parts[-1] += f": a constant is saved for {targets_text(saved, 0)}"
    return [f"These columns {' and '.join(parts)}."]
