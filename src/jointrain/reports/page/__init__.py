"""The page: what was found as one HTML file that needs nothing else, and its figures as JSON."""

from jointrain.reports.page._figures import FIGURES, PAGE, Figures, read_figures
from jointrain.reports.page._render import prepare_page, render_page, write_page
from jointrain.reports.page._runs_figures import interim_figures, runs_figures
from jointrain.reports.page._search_figures import search_figures
from jointrain.reports.page._study_figures import data_figures, study_figures

__all__ = [
    "FIGURES",
    "PAGE",
    "Figures",
    "data_figures",
    "interim_figures",
    "prepare_page",
    "read_figures",
    "render_page",
    "runs_figures",
    "search_figures",
    "study_figures",
    "write_page",
]
