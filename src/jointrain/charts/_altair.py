"""What all charts share: rows of plain values as the data of an altair chart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jointrain.errors import MissingDependencyError

if TYPE_CHECKING:
    import altair as alt

    Chart = alt.TopLevelMixin
else:
    Chart = Any

Row = Mapping[str, Any]


def check_altair(*, pictures: bool = False) -> None:
    """Refuse to draw without the packages that do it.

    Args:
        pictures: Whether files of pictures are wanted, and not charts alone.

    Raises:
        MissingDependencyError: altair, or what makes pictures of its charts, is not installed.
    """
    if find_spec("altair") is None or (pictures and find_spec("vl_convert") is None):
        raise MissingDependencyError(
            "charts need altair and vl-convert-python; install them with: "
            "pip install 'jointrain[plots]'"
        )


def save_picture(chart: Chart, path: Path) -> None:
    """Write a chart as a PNG.

    Args:
        chart: What to draw.
        path: The file, whatever its ending.

    Raises:
        MissingDependencyError: As `check_altair`.
    """
    check_altair(pictures=True)
    import vl_convert

    # what altair would check first is our own, and takes seconds for many panels
    spec = chart.to_dict(validate=False)
    path.write_bytes(vl_convert.vegalite_to_png(spec, ppi=110))


def clean(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return rows as JSON can hold them: numbers of five digits, none that are not finite."""
    return [{name: _plain(value) for name, value in row.items()} for row in rows]


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    return value


def data_of(rows: Sequence[Row]) -> alt.Data:
    """Return rows as data that stand in the chart itself.

    Raises:
        MissingDependencyError: altair is not installed.
    """
    check_altair()
    import altair as alt

    return alt.Data(values=clean(rows))  # type: ignore[no-untyped-call]
