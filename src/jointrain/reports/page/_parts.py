"""What a page is made of: sections of sentences, charts with a table behind each, and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jointrain.charts import Chart


@dataclass(frozen=True)
class Table:
    """A table of texts.

    Args:
        title: What it is about.
        headings: Of the columns.
        rows: Of cells.
        hidden: Whether it is folded.
    """

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    hidden: bool = False


@dataclass(frozen=True)
class Figure:
    """A chart, what it shows in words, and its table.

    Args:
        title: What it is about.
        said: What a reader without the picture is told of it.
        chart: The chart.
        table: The figures behind it.
        wide: Whether it needs the whole width of the page.
    """

    title: str
    said: str
    chart: Chart
    table: Table
    wide: bool = False


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Args:
        key: Its anchor.
        title: Its heading.
        lines: Sentences before all else.
        figures: Charts.
        tables: Tables without a chart.
        notes: A list of remarks after all else.
        missing: What was not measured, and how to get it; None if nothing is missing.
    """

    key: str
    title: str
    lines: Sequence[str] = ()
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()
    notes: Sequence[str] = ()
    missing: str | None = None
