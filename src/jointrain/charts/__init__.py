"""Charts: rows of figures -> Vega-Lite charts by altair, for pages, notebooks and pictures."""

from jointrain.charts._altair import Chart, Row, check_altair, clean, drawable, save_picture
from jointrain.charts._bars import bars
from jointrain.charts._changes import axis_limit, changes
from jointrain.charts._curves import curves
from jointrain.charts._heat_map import heat_map
from jointrain.charts._in_notebook import InNotebook
from jointrain.charts._palette import PALETTE, SERIES, VERDICT_MARKS
from jointrain.charts._scatter import against_truth, calibration
from jointrain.charts._trade_offs import trade_offs

__all__ = [
    "PALETTE",
    "SERIES",
    "VERDICT_MARKS",
    "Chart",
    "InNotebook",
    "Row",
    "against_truth",
    "axis_limit",
    "bars",
    "calibration",
    "changes",
    "check_altair",
    "clean",
    "curves",
    "drawable",
    "heat_map",
    "save_picture",
    "trade_offs",
]
