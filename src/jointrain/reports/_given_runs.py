"""Verdicts on given runs in words: the answer, tables, a page, JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rich.console import Console

from jointrain.reports._circumstances import MOST_NAMED, MOST_TABLES
from jointrain.reports._markdown import escaped, markdown_table
from jointrain.reports._summary import (
    SummaryTable,
    change_and_interval,
    comparison_to_json,
    finite,
    mean_and_spread,
    tasks_left_out,
)
from jointrain.reports._words import (
    better_or_worse,
    beyond_margin,
    listed,
    metric_heading,
    number,
    rounded,
    seen_text,
    targets_text,
)
from jointrain.studies import (
    DELTA_M,
    FEWEST_FOLDS,
    VERDICTS,
    Comparison,
    RunVerdicts,
    SeedsNeeded,
    mean_and_deviation,
)
from jointrain.system.printed_tables import print_table
from jointrain.system.terminal_streams import printable

_SEEDS_ALONE = (
    "Seeds vary how training goes, not the data: this holds for this training and test set, and "
    "others may differ by more (Bouthillier et al., 2021)."
)


def answer_of_runs(result: RunVerdicts) -> list[str]:
    """Return what a table of runs shows, in at most four sentences, the most important first.

    What to do; for which tasks it is otherwise; how many seeds would show the difference asked for;
    what seeds alone can't show.
    """
    judged = {name: one for name, one in result.delta_m.items() if math.isfinite(one.low)}
    if not judged:
        return _first_look(result)
    best = max(judged, key=lambda name: judged[name].change)
    first = _of_one(result, best) if len(result.recipes) == 1 else _of_several(result, judged)
    sentences = [first, *_by_task(result, best), *_more_seeds(result, best)]
    return [*sentences, *([] if result.folds else [_SEEDS_ALONE])]


def _first_look(result: RunVerdicts) -> list[str]:
    measured = {n: one for n, one in result.delta_m.items() if math.isfinite(one.change)}
    by_task = [one for of in result.comparisons.values() for one in of.values()]
    judged = any(math.isfinite(one.low) for one in by_task)
    what = "seed" if result.folds < 2 else "fold"
    count = result.seeds if result.folds < 2 else result.folds
    if judged:
        first = "There is no interval over all tasks, and so no verdict on them: the notes say why."
    elif count >= 3:
        first = "There is no interval, and so no verdict: the notes say why."
    else:
        few = f"{number(count).capitalize()} {what}{'s give' if count > 1 else ' gives'}"
        first = (
            f"{few} no interval: these figures are a first look, and three {what}s are the fewest "
            "that can be judged."
        )
    if not measured:
        return [first]
    best = max(measured, key=lambda name: measured[name].change)
    bare = replace(measured[best], low=math.nan, high=math.nan)
    them = "them" if count < 3 and not judged else "the runs"
    second = f"In {them} {best} is {better_or_worse(bare, f' than {result.baseline}')}."
    return [first, second, *(_by_task(result, best) if judged else [])]


def _of_one(result: RunVerdicts, recipe: str) -> str:
    """Say what to do where there is one recipe beside the baseline."""
    one, base = result.delta_m[recipe], result.baseline
    over = _over(result, recipe)
    if one.verdict == "better":
        return f"Take {recipe}: it is {better_or_worse(one, f' than {base}')}{over}."
    if one.verdict == "worse":
        return f"Take {base}: {recipe} is {better_or_worse(one)}{over}."
    if one.verdict == "equivalent":
        return (
            f"It makes no difference{beyond_margin(one)}: {recipe} is "
            f"{better_or_worse(one, f' than {base}')}{over}; take the cheaper one."
        )
    return (
        f"The runs do not decide between {recipe} and {base}{over}: differences under "
        f"{seen_text(one)} could not be seen with {_size(result)}."
    )


def _over(result: RunVerdicts, recipe: str) -> str:
    left_out = _left_out(result, recipe)
    counted = [task for task in result.tasks if task not in left_out]
    return f" over {targets_text(counted, len(result.tasks), 'tasks')}"


def _left_out(result: RunVerdicts, recipe: str) -> list[str]:
    """Return the tasks that Delta-m of a recipe does not cover, for want of runs or of an error."""
    judged, left_out = result.comparisons[recipe], result.delta_m[recipe].left_out
    return [task for task in result.tasks if task not in judged or task in left_out]


def _of_several(result: RunVerdicts, judged: Mapping[str, Comparison]) -> str:
    """Say which recipes are better than the baseline, and that they are not compared."""
    base = result.baseline
    unjudged = [name for name in result.recipes if name not in judged]
    without = f"; no verdict: {listed(unjudged)}" if unjudged else ""
    ordered = sorted(judged, key=lambda name: -judged[name].change)
    better = [name for name in ordered if judged[name].verdict == "better"]
    if better:
        first, *others = better
        text = f"Take {first}: it is {better_or_worse(judged[first], f' than {base}')}"
        text += _over(result, first) if _left_out(result, first) else ""
        if others:
            are = "is" if len(others) == 1 else "are"
            text += (
                f"; {listed(others)} {are} better than {base}, too, and which is the best of them "
                f"takes a comparison of its own (--baseline {first})"
            )
        return f"{text}{without}."
    groups = []
    for word in VERDICTS:
        names = [name for name in ordered if judged[name].verdict == word]
        if not names:
            continue
        seen = ""
        if word == "undecided":
            widest = max(names, key=lambda name: judged[name].smallest_visible)
            seen = (
                f" (differences under {seen_text(judged[widest])} could not be seen with "
                f"{_size(result)})"
            )
        groups.append(f"{word}: {listed(names)}{seen}")
    return f"No recipe is shown to be better than {base}; {'; '.join(groups)}{without}."


def _by_task(result: RunVerdicts, recipe: str) -> list[str]:
    """Say for which tasks the verdict is which, unless it is that over all for each of them."""
    by_task, over_all = result.comparisons[recipe], result.delta_m[recipe]
    lacking = [name for name, one in by_task.items() if not math.isfinite(one.low)]
    found: dict[str, list[str]] = {}
    for word in VERDICTS:
        names = [n for n, one in by_task.items() if one.verdict == word and n not in lacking]
        if names:
            found[word] = names
    # a verdict over all tells of no task that it does not cover
    alike = not over_all.left_out and list(found) == [over_all.verdict]
    if not lacking and (len(by_task) < 2 or alike):
        return []
    few = len(by_task) <= MOST_NAMED
    phrases = [f"{word} for {listed(t) if few else number(len(t))}" for word, t in found.items()]
    if lacking:
        without = listed(lacking) if few else number(len(lacking))
        phrases.append(f"no verdict for {without}, where runs do not tell how sure the change is")
    return [f"By task, {recipe} against {result.baseline}: {', '.join(phrases)}."]


def _more_seeds(result: RunVerdicts, recipe: str) -> list[str]:
    """Say how many seeds would show the difference asked for, if there are fewer."""
    needed, one = result.needed[recipe][DELTA_M], result.delta_m[recipe]
    if not needed.difference > 0 or one.low == one.high:
        return []
    if one.verdict != "undecided" and not result.asked:
        return []
    size = result.difference
    if needed.seeds is None:
        why = "runs spread too far"
        if result.folds:
            why = "folds share their rows; more rows would"
        return [f"No number of seeds would show a difference of {size}: {why}."]
    if needed.seeds <= result.seeds:
        return []
    wider = ""
    if needed.seeds_if_wider is None:
        wider = "; many more if the spread is larger than it looks"
    elif needed.seeds_if_wider > needed.seeds:
        wider = (
            f", {rounded(needed.seeds_if_wider):,} if the spread is larger than it looks "
            f"({result.seeds} seeds show it only roughly)"
        )
    return [f"About {rounded(needed.seeds):,} seeds would show a difference of {size}{wider}."]


def _size(result: RunVerdicts) -> str:
    seeds = f"{result.seeds} seed{'s' if result.seeds != 1 else ''}"
    if result.folds == 1:
        return f"{seeds}, each with a fold of its own"
    return f"{result.folds} folds x {seeds}" if result.folds else seeds


def tables_of_runs(result: RunVerdicts) -> list[SummaryTable]:
    """Return a table for each task, or of how often each verdict was reached; and one of all."""
    if len(result.tasks) > MOST_TABLES:
        counts = [
            [name, *(str(sum(one.verdict == word for one in of.values())) for word in VERDICTS)]
            for name, of in result.comparisons.items()
        ]
        title = f"{len(result.tasks)} tasks: how many are better or worse than by {result.baseline}"
        return [SummaryTable(title, ["recipe", *VERDICTS], counts), _table_of_all(result)]
    return [*(_table_of_task(result, task) for task in result.tasks), _table_of_all(result)]


def _table_of_task(result: RunVerdicts, task: str) -> SummaryTable:
    metric = result.metrics[task]
    rows = []
    for recipe in (result.baseline, *result.recipes):
        values = result.values.get((recipe, task))
        if values is None:
            continue
        cells = [recipe, mean_and_spread(values), str(sum(map(math.isfinite, values)))]
        one = result.comparisons.get(recipe, {}).get(task)
        if one is None:
            cells += ["", "", ""]
        else:
            needed = _needed_text(result.needed[recipe][task])
            cells += [change_and_interval(one), one.verdict, needed]
        rows.append(cells)
    headings = [
        "recipe", metric_heading(metric), "runs",
        f"change against {result.baseline}", "verdict", f"seeds for {result.difference}",
    ]  # fmt: skip
    return SummaryTable(task, headings, rows)


def _table_of_all(result: RunVerdicts) -> SummaryTable:
    left_out = {name: _left_out(result, name) for name in result.recipes}
    but, without = tasks_left_out(result.delta_m, left_out)
    rows = [
        [
            name,
            change_and_interval(one),
            one.verdict,
            _needed_text(result.needed[name][DELTA_M]),
            "-" if result.tests[name] == "none" else result.tests[name],
            *([without.get(name, "")] if without else []),
        ]
        for name, one in result.delta_m.items()
    ]
    headings = ["recipe", DELTA_M, "verdict", f"seeds for {result.difference}", "test"]
    headings += ["without"] if without else []
    return SummaryTable(f"All tasks{but}", headings, rows)


def _needed_text(needed: SeedsNeeded) -> str:
    if needed.seeds is None:
        return "-"
    wider = "more" if needed.seeds_if_wider is None else f"{needed.seeds_if_wider:,}"
    return f"{needed.seeds:,} to {wider}"


def print_runs(result: RunVerdicts, console: Console) -> None:
    """Print the tables, and the answer in words."""
    for table in tables_of_runs(result):
        print_table(console, table.title, table.headings, table.rows)
    console.print(
        f"Means ± standard deviation over {_size(result)}; ↑ higher is better, ↓ lower. Changes: "
        "mean with the interval that decides (95 %, for all at once), positive is better. Seeds: "
        "for a power of 0.8, if the spread is as seen, and if it is at its upper 80 % limit.",
        style="dim",
        soft_wrap=True,
    )
    console.print()
    console.print(
        printable(" ".join(answer_of_runs(result))),
        style="bold",
        markup=False,
        emoji=False,
        highlight=False,
    )


def runs_page(result: RunVerdicts, title: str) -> str:
    """Return the answer, the tables and how they were made, as a Markdown page.

    Args:
        result: What to report.
        title: The heading.
    """
    lines = [f"# {escaped(title)}", "", escaped(" ".join(answer_of_runs(result))), ""]
    for table in tables_of_runs(result):
        lines += [f"## {escaped(table.title)}", "", *markdown_table(table.headings, table.rows), ""]
    how = {
        "corrected resampled t": "the corrected resampled t-test over folds and seeds (Nadeau and "
        "Bengio, 2003); a fold of one name is the same rows in all seeds",
        "paired t": "a paired t-test over the seeds that both recipes have",
        "Welch t": "Welch's t-test, for the recipes have few seeds in common",
    }
    lines += ["## How it was judged", ""]
    lines += [
        f"- {escaped(listed([n for n, test in result.tests.items() if test == kind]))}: {words}."
        for kind, words in how.items()
        if kind in result.tests.values()
    ]
    lines += [
        f"- {escaped(name)}: no test: {_why_untested(result, name)}."
        for name, test in result.tests.items()
        if test == "none"
    ]
    several = max(len(of) for of in result.comparisons.values()) > 1
    shared = "half among the Delta-m of the recipes, half among all tasks of all recipes"
    shared = shared if several else "among the recipes"
    if not result.folds:
        lines.append(f"- {_SEEDS_ALONE}")
    lines += [
        f"- Changes against {escaped(result.baseline)}, in percent of its mean, positive is "
        "better; plain differences where that mean is near 0 or negative. The level of 5 % is "
        f"shared out, {shared}, so the intervals hold at once.",
        "- Verdict: equivalent where the whole interval lies within the margin "
        f"({result.margin:g} %, near a bound of 1 that share of 1 - value); else better or worse "
        "where it leaves out 0; else undecided.",
        f"- Seeds for {result.difference}: as many show such a difference in four of five studies, "
        "by the noncentral t distribution, if the spread is as seen, and if it is at its upper "
        "80 % limit (Browne, 1995); -: none do, or the spread is not known.",
        *(f"- Note: {escaped(note)}." for note in result.notes),
    ]
    return "\n".join(lines) + "\n"


def _why_untested(result: RunVerdicts, recipe: str) -> str:
    if all(one.defined < FEWEST_FOLDS for one in result.comparisons[recipe].values()):
        return "fewer than three runs"
    if result.folds == 2:
        return "fewer than three folds"
    # of one of the two, or in which all changes are equal
    return "the runs do not tell how sure the changes are, see the notes"


def runs_to_json(result: RunVerdicts) -> dict[str, Any]:
    """Return all figures as values that JSON can hold; undefined ones are None."""

    def told(recipe: str, task: str, one: Comparison) -> dict[str, Any]:
        needed = result.needed[recipe][task]
        return {
            **comparison_to_json(one),
            "difference": finite(needed.difference),
            "seeds_needed": needed.seeds,
            "seeds_needed_if_wider": needed.seeds_if_wider,
        }

    return {
        "baseline": result.baseline,
        "answer": " ".join(answer_of_runs(result)),
        "seeds": result.seeds,
        "folds": result.folds,
        "notes": list(result.notes),
        "tasks": {
            task: {
                "metric": metric.name,
                "higher_is_better": metric.higher_is_better,
                "recipes": {
                    name: mean_and_deviation(result.values[name, task])
                    for name in (result.baseline, *result.recipes)
                    if (name, task) in result.values
                },
            }
            for task, metric in result.metrics.items()
        },
        "recipes": {
            recipe: {
                "test": result.tests[recipe],
                "delta_m": told(recipe, DELTA_M, result.delta_m[recipe]),
                "tasks": {task: told(recipe, task, one) for task, one in of.items()},
            }
            for recipe, of in result.comparisons.items()
        },
    }
