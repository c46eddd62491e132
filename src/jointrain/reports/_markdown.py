"""A study's result as a Markdown page."""

from __future__ import annotations

import re
from collections.abc import Sequence

from jointrain.data import SupervisedTable
from jointrain.reports._circumstances import MOST_TABLES
from jointrain.reports._saved_model import blend_text
from jointrain.reports._study_answer import answer
from jointrain.reports._summary import folds_and_seeds, summary_tables
from jointrain.studies import StudyResult
from jointrain.tables import TableExperiment

_MARKUP = re.compile(
    r"[\\`*<~]"
    r"|&(?=#?\w+;)"  # an entity
    r"|\](?=[(\[])"  # a link
    r"|(?<![^\W_])_|_(?![^\W_])"  # but not within words
)
"""What Markdown does not show as it is."""

_LEADING = re.compile(r"^(\d{1,9}(?=[.)]\s)|(?=#{1,6}\s|[-+]\s|[>\[]))")
"""After which a line would begin a list, a heading, a quotation or what a link leads to."""


def write_markdown(result: StudyResult, title: str, *, picture: str | None = None) -> str:
    """Return the report: answer, a table for each task, all tasks, and how it was measured.

    Args:
        result: What to report.
        title: The heading.
        picture: File name of the picture of the changes, shown below the answer.
    """
    study = result.study
    lines = [f"# {escaped(title)}", "", escaped(" ".join(answer(result, written=True))), ""]
    if picture is not None:
        lines += [f"![Change of each recipe against separate models]({picture})", ""]
    for summary in summary_tables(result):
        lines += [
            f"## {escaped(summary.title)}",
            "",
            *markdown_table(summary.headings, summary.rows),
            "",
        ]
    if result.ships and len(study.tasks) <= MOST_TABLES:
        made = [[task, blend_text(blend)] for task, blend in result.blends.items()]
        lines += ["## The saved model", "", *markdown_table(["target", "by"], made), ""]
    lines += [
        "## How it was measured",
        "",
        *_data_lines(result),
        *(f"- {escaped(note[0].upper() + note[1:])}." for note in result.notes),
        "- Figures are means ± standard deviation over folds and seeds. ↑ higher is better, ↓ "
        "lower is better.",
        "- Change: difference of the first metric from separate training over its mean, in "
        "percent, positive is better; a plain difference where that mean is near 0 or negative. "
        f"Behind it the interval that decides: {_variance_words(result)}, with "
        f"{_shares_words(result)}. Baselines and the shipped model are judged apart from them.",
        "- Verdict: equivalent where the whole interval lies within the margin "
        f"({result.margin:g} %, near a bound of 1 that share of 1 - value); else better or "
        "worse where it leaves out 0; else undecided. Fewer than three folds give no interval.",
        "- Delta-m: mean of the changes over the tasks (Maninis et al., 2019); tasks that can be "
        "scored in too few folds for an interval, or whose change is no percentage, are left out.",
        *_choice_lines(result),
        *(f"- About the data: {escaped(note)}." for note in study.experiment.notes),
        "",
        "## Recipes",
        "",
    ]
    for recipe in study.recipes:
        settings = ", ".join(
            f"{name} {value}" for name, value in recipe.to_words().items() if name != "name"
        )
        settings = f": {escaped(settings)}" if settings else ""
        lines.append(f"- **{escaped(recipe.name)}**{settings}")
    return "\n".join(lines) + "\n"


def _data_lines(result: StudyResult) -> list[str]:
    """Say what was measured on what, and how it was split."""
    experiment = result.study.experiment
    if isinstance(experiment, TableExperiment):
        columns = experiment.table.columns
        named = ", ".join(f"{escaped(column.name)} ({column.kind})" for column in columns)
        return [
            f"- {experiment.row_count} rows with a label, {len(columns)} feature "
            f"column{'s' * (len(columns) != 1)}: {named}.",
            f"- {_split_words(result, experiment.table)}; every recipe sees the same folds and "
            "seeds. Encoders and target scaling are learned on the training rows of each fold "
            "only.",
        ]
    count = experiment.row_count
    rows = f"{count:,} rows; " if count else ""
    return [
        f"- {rows}{folds_and_seeds(result)}; every recipe sees the same splits and seeds: "
        f"{experiment.splits_in_words()}."
    ]


def _variance_words(result: StudyResult) -> str:
    if result.study.experiment.fixed_test:
        return (
            "by a paired t-test over seeds on the one test set, which says nothing of other test "
            "rows (Bouthillier et al., 2021)"
        )
    return "by the corrected resampled variance (Nadeau and Bengio, 2003)"


def _shares_words(result: StudyResult) -> str:
    if len(result.study.tasks) == 1:
        return "the level of 5 % shared out among the recipes"
    return (
        "half of the level of 5 % shared out among the Delta-m of the recipes, the other half "
        "among all targets of all recipes"
    )


def _choice_lines(result: StudyResult) -> list[str]:
    """Say how the best recipe was chosen, and how what is saved is scored."""
    lines = [
        "- The best recipe was chosen on the folds that are shown, so its own figures flatter it "
        "slightly; its interval holds for all recipes at once."
    ]
    if result.study.experiment.fixed_test:
        lines = [
            "- Each run was scored on the test set once; the best recipe was chosen by validation "
            f"rows, on which it is {escaped(result.chosen_by_validation)}."
            if result.chosen_by_validation
            else "- There were no validation figures: a recipe that is picked here is picked by "
            "the test set, which flatters it."
        ]
    if result.ships:
        lines.append(
            "- The shipped model is scored by nested cross-validation: on each fold it is chosen "
            "by training rows that its networks left out, and measured on the test rows."
        )
    return lines


def _split_words(result: StudyResult, table: SupervisedTable) -> str:
    repeats = folds_and_seeds(result)
    if table.time is not None:
        apart = ", and each group of rows is on one side" if table.groups is not None else ""
        return f"{repeats}, forward in time (training rows come before test rows{apart})"
    if table.groups is not None:
        return f"{repeats}, each group of rows on one side of a split"
    return f"{repeats}, shuffled and stratified by the class targets"


def escaped(text: str) -> str:
    """Return text, such as one with names, as Markdown of one line that shows it as it is."""
    line = re.sub(r"[\r\n]+", " ", text).lstrip()
    return _LEADING.sub(r"\g<0>\\", _MARKUP.sub(r"\\\g<0>", line))


def code(text: str) -> str:
    """Return text as Markdown of code in a line, whatever backticks are in it."""
    fence = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
    edge = " " if "`" in text else ""
    return f"{fence}{edge}{text}{edge}{fence}"


def markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(escaped(cell).replace("|", "\\|") for cell in cells) + " |"

    rule = "|" + "|".join([" --- ", *[" ---: "] * (len(headings) - 1)]) + "|"
    return [line(headings), rule, *(line(row) for row in rows)]
