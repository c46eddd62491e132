"""The page as one file of HTML: sections through a template, charts as Vega-Lite."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from functools import cache, partial
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

from jointrain.charts import PALETTE, check_altair
from jointrain.reports.page._figures import FIGURES, PAGE, Figures
from jointrain.reports.page._parts import Figure, Section
from jointrain.reports.page._search_figures import search_sections
from jointrain.reports.page._study_sections import study_sections
from jointrain.system.output_file import write_text, write_whole

_CONFIG = {
    "background": "transparent",
    "font": "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif",
    "view": {"stroke": "transparent"},
    "axis": {
        "labelColor": PALETTE["ink"],
        "titleColor": PALETTE["ink"],
        "domainColor": PALETTE["faint"],
        "tickColor": PALETTE["faint"],
        "gridColor": PALETTE["grid"],
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
    },
    "legend": {
        "labelColor": PALETTE["ink"],
        "titleColor": PALETTE["ink"],
        "labelFontSize": 12,
        "titleFontSize": 12,
        "columns": 3,
        "labelLimit": 240,
        "layout": {"bottom": {"direction": "vertical", "anchor": "start"}},
    },
}


def render_page(figures: Figures) -> str:
    """Return the page of figures.

    Args:
        figures: As `study_figures` and the like make them.

    Raises:
        MissingDependencyError: altair or vl-convert-python is not installed.
        InvalidInputError: The address space is limited, see `check_altair`.
    """
    check_altair(pictures=True)
    sections = _sections(figures)
    charts = [_vega_lite(figure) for section in sections for figure in section.figures]
    page: str = _template().render(
        figures=figures,
        sections=sections,
        charts=_script_safe(charts),
        css=_text("page.css"),
        code=_text("page.js"),
        vega=_javascript(),
    )
    return page


def prepare_page() -> None:
    """Load what pages need, so that the first one is made at once.

    Raises:
        MissingDependencyError: altair or vl-convert-python is not installed.
        InvalidInputError: The address space is limited, see `check_altair`.
    """
    check_altair(pictures=True)
    import_module("altair")
    _template()
    _javascript()


def write_page(figures: Figures, folder: Path) -> None:
    """Write figures and page into a folder.

    Args:
        figures: What to show.
        folder: It exists; files of those names are replaced.

    Raises:
        MissingDependencyError: altair or vl-convert-python is not installed; the figures are
            written, of which `jointrain report` makes the page later.
        InvalidInputError: A file can't be written.
    """
    known = _known(figures)
    text = json.dumps(known, ensure_ascii=False, allow_nan=False) + "\n"
    # names of files that are not UTF-8 are shown escaped
    text = re.sub("[\ud800-\udfff]", lambda found: f"\\\\u{ord(found[0]):x}", text)
    write_whole(folder / FIGURES, partial(write_text, text=text))
    page = render_page(known)
    write_whole(folder / PAGE, partial(write_text, text=page))


def _known(figures: Any) -> Any:
    """Return figures with None in place of what is not finite: JSON has no word for it."""
    if isinstance(figures, Mapping):
        return {name: _known(one) for name, one in figures.items()}
    if isinstance(figures, list | tuple):
        return [_known(one) for one in figures]
    return None if isinstance(figures, float) and not math.isfinite(figures) else figures


def _sections(figures: Figures) -> list[Section]:
    return search_sections(figures) if figures["kind"] == "search" else study_sections(figures)


def _vega_lite(figure: Figure) -> dict[str, Any]:
    """Return a chart as the page draws it: as wide as its place, in colours of the page."""
    spec: dict[str, Any] = figure.chart.to_dict(validate=False)
    del spec["$schema"]
    spec |= {"width": "container", "autosize": {"type": "fit-x", "contains": "padding"}}
    spec["config"] = _CONFIG
    return spec


def _script_safe(charts: list[dict[str, Any]]) -> str:
    """Return charts as JSON that may stand in a script, whatever names they hold."""
    text = json.dumps(charts, ensure_ascii=False, separators=(",", ":"))
    for name, colour in PALETTE.items():
        text = text.replace(f'"{colour}"', f'"var(--{name})"')
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


@cache
def _javascript() -> str:
    """Return what draws the charts in a browser: Vega, Vega-Lite and their embedding."""
    import vl_convert

    bundle: str = vl_convert.javascript_bundle()  # type: ignore[call-arg]
    return bundle


@cache
def _text(name: str) -> str:
    return files("jointrain.reports.page").joinpath(name).read_text(encoding="utf-8")


@cache
def _template() -> Any:
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    return environment.from_string(_text("page.html.jinja"))
