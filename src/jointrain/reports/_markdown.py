"""A study's result as a Markdown page."""

from __future__ import annotations

from collections.abc import Sequence

from jointrain.reports._circumstances import MOST_TABLES
from jointrain.reports._saved_model import blend_text
from jointrain.reports._study_answer import answer
from jointrain.reports._summary import folds_and_seeds, summary_tables
from jointrain.studies import StudyResult


def write_markdown(result: StudyResult, title: str, *, picture: str | None = None) -> str:
    """Return the report: answer, a table for each task, all tasks, and how it was measured.

    Args:
        result: What to report.
        title: The heading.
        picture: File name of the picture of the changes, shown below the answer.
    """
    study = result.study
    table = study.table
    lines = [f"# {title}", "", " ".join(answer(result)), ""]
    if picture is not None:
        lines += [f"![Change of each recipe against separate models]({picture})", ""]
    for summary in summary_tables(result):
        lines += [f"## {summary.title}", "", *markdown_table(summary.headings, summary.rows), ""]
    if result.ships and len(table.tasks) <= MOST_TABLES:
        made = [[task, blend_text(blend)] for task, blend in result.blends.items()]
        lines += ["## The saved model", "", *markdown_table(["target", "by"], made), ""]
    lines += [
        "## How it was measured",
        "",
        f"- {len(table.frame)} rows with a label, {len(table.columns)} feature columns: "
        + ", ".join(f"{column.name} ({column.kind})" for column in table.columns)
        + ".",
        f"- {_split_words(result)}; every recipe sees the same folds and seeds. Encoders and "
        f"target scaling are learned on the training rows of each fold only.",
        *(f"- {note[0].upper()}{note[1:]}." for note in result.notes),
        "- Figures are means ± standard deviation over folds and seeds. ↑ higher is better, ↓ "
        "lower is better.",
        "- Change: difference of the first metric from separate training over its mean, in "
        "percent, positive is better; a plain difference where that mean is near 0 or negative. "
        "Behind it the interval that decides: by the corrected resampled variance (Nadeau and "
        "Bengio, 2003), with half of the level of 5 % shared out among the Delta-m of the recipes, "
        "the other half among all targets of all recipes. Baselines and the shipped model are "
        "judged apart from them.",
        "- Verdict: equivalent where the whole interval lies within the margin "
        f"({result.margin:g} %, near a bound of 1 that share of 1 - value); else better or "
        "worse where it leaves out 0; else undecided. Fewer than three folds give no interval.",
        "- Delta-m: mean of the changes over the tasks (Maninis et al., 2019); tasks that can be "
        "scored in too few folds for an interval, or whose change is no percentage, are left out.",
        "- The best recipe was chosen on the folds that are shown, so its own figures flatter it "
        "slightly; its interval holds for all recipes at once.",
        "- The shipped model is scored by nested cross-validation: on each fold it is chosen by "
        "training rows that its networks left out, and measured on the test rows.",
        *(f"- About the table: {note}." for note in table.notes),
        "",
        "## Recipes",
        "",
    ]
    for recipe in study.recipes:
        settings = ", ".join(
            f"{name} {value}" for name, value in recipe.to_words().items() if name != "name"
        )
        lines.append(f"- **{recipe.name}**: {settings}")
    return "\n".join(lines) + "\n"


def _split_words(result: StudyResult) -> str:
    study = result.study
    repeats = folds_and_seeds(result)
    if study.table.time is not None:
        apart = ", and each group of rows is on one side" if study.table.groups is not None else ""
        return f"{repeats}, forward in time (training rows come before test rows{apart})"
    if study.table.groups is not None:
        return f"{repeats}, each group of rows on one side of a split"
    return f"{repeats}, shuffled and stratified by the class targets"


def markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    rule = "|" + "|".join([" --- ", *[" ---: "] * (len(headings) - 1)]) + "|"
    return [line(headings), rule, *(line(row) for row in rows)]
