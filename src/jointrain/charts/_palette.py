"""The colours of charts: safe for colour-blind readers, and never the only sign of a thing."""

from __future__ import annotations

BETTER, WORSE, SAME, OPEN = "#0067a5", "#c04a00", "#007f5f", "#5f6670"
INK, FAINT, GRID = "#1c2128", "#59616b", "#d9dde2"

SERIES = ("#0072b2", "#d55e00", "#00795c", "#a8488a", "#8a6a00", "#1f8ac0", "#333a44")
"""Colours of lines, from Okabe and Ito's, darkened to a contrast of 3 on white."""

NEGATIVE = ("#9a3a00", "#d98a4e", "#f3cfae")
POSITIVE = ("#b5d7ec", "#5aa5d0", "#00588e")
"""Steps of a scale from much worse over nothing to much better; between them is paper."""

PAPER = "#f4f5f7"

PALETTE = {
    "better": BETTER,
    "worse": WORSE,
    "same": SAME,
    "open": OPEN,
    "ink": INK,
    "faint": FAINT,
    "grid": GRID,
    "paper": PAPER,
    **{f"series-{number}": colour for number, colour in enumerate(SERIES, 1)},
    **{f"negative-{number}": colour for number, colour in enumerate(NEGATIVE, 1)},
    **{f"positive-{number}": colour for number, colour in enumerate(POSITIVE, 1)},
}
"""All colours by a name; a page replaces them by its own, which follow light and dark."""

VERDICT_MARKS = {
    "better": (BETTER, "triangle-up"),
    "worse": (WORSE, "triangle-down"),
    "equivalent": (SAME, "square"),
    "undecided": (OPEN, "circle"),
}
"""Colour and shape of each verdict."""
