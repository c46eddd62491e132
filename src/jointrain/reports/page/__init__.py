"""The page: what was found as one HTML file that needs nothing else, and its figures as JSON."""

from jointrain.reports.page._figures import FIGURES, PAGE, Figures, read_figures
from jointrain.reports.page._render import render_page, write_page
from jointrain.reports.page._study_figures import study_figures

__all__ = [
    "FIGURES",
    "PAGE",
    "Figures",
    "read_figures",
    "render_page",
    "study_figures",
    "write_page",
]
