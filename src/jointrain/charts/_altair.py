"""What all charts share: rows of plain values as the data of an altair chart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import altair as alt

    Chart = alt.TopLevelMixin
else:
    Chart = Any

Row = Mapping[str, Any]


def clean(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return rows as JSON can hold them: numbers of five digits, none that are not finite."""
    return [{name: _plain(value) for name, value in row.items()} for row in rows]


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    return value


def data_of(rows: Sequence[Row]) -> alt.Data:
    """Return rows as data that stand in the chart itself."""
    import altair as alt

    return alt.Data(values=clean(rows))  # type: ignore[no-untyped-call]
