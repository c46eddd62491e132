"""What all charts share: rows of plain values as the data of an altair chart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jointrain.errors import InvalidInputError, MissingDependencyError

if TYPE_CHECKING:
    import altair as alt

    Chart = alt.TopLevelMixin
else:
    Chart = Any

Row = Mapping[str, Any]

WIDTH = 420
"""Pixels that a chart is wide."""

_OF_EVERY_OBJECT = {
    "constructor", "hasOwnProperty", "isPrototypeOf", "propertyIsEnumerable", "toLocaleString",
    "toString", "valueOf", "__proto__", "__defineGetter__", "__defineSetter__", "__lookupGetter__",
    "__lookupSetter__",
}  # fmt: skip
"""What every object of JavaScript has; Vega takes such a name in an order or title for its own."""


def check_altair(*, pictures: bool = False) -> None:
    """Refuse to draw without the packages that do it.

    Args:
        pictures: Whether files of pictures are wanted, and not charts alone.

    Raises:
        MissingDependencyError: altair, or what makes pictures of its charts, is not installed.
        InvalidInputError: Pictures are wanted where the address space is limited: the engine of
            JavaScript that draws them would end the process.
    """
    if find_spec("altair") is None or (pictures and find_spec("vl_convert") is None):
        raise MissingDependencyError(
            "charts need altair and vl-convert-python; install them with: "
            "pip install 'jointrain[plots]'"
        )
    if pictures and _address_space_is_limited():
        raise InvalidInputError(
            "pictures need an address space without a limit; run `ulimit -v unlimited` first"
        )


def _address_space_is_limited() -> bool:
    try:
        import resource
    except ImportError:  # as on Windows
        return False
    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY


def save_picture(chart: Chart, path: Path) -> None:
    """Write a chart as a PNG.

    Args:
        chart: What to draw.
        path: The file, whatever its ending.

    Raises:
        MissingDependencyError: As `check_altair`.
        InvalidInputError: As there.
    """
    check_altair(pictures=True)
    import vl_convert

    # what altair would check first is our own, and takes seconds for many panels
    spec = chart.to_dict(validate=False)
    path.write_bytes(vl_convert.vegalite_to_png(spec, ppi=110))


def drawable(name: str) -> str:
    """Return a name as Vega can draw it; it looks the same."""
    return f"{name}\u200b" if name in _OF_EVERY_OBJECT else name


def clean(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return rows as a chart can hold them: finite numbers of five digits, names as `drawable`."""
    return [{name: _plain(value) for name, value in row.items()} for row in rows]


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    return drawable(value) if isinstance(value, str) else value


def data_of(rows: Sequence[Row]) -> alt.Data:
    """Return rows as data that stand in the chart itself.

    Raises:
        MissingDependencyError: altair is not installed.
    """
    check_altair()
    import altair as alt

    return alt.Data(values=clean(rows))  # type: ignore[no-untyped-call]
