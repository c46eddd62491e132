"""Reports: a study's figures in words and charts: terminal, Markdown, JSON and a page."""

from jointrain.reports._given_runs import answer_of_runs, print_runs, runs_page, runs_to_json
from jointrain.reports._markdown import write_markdown
from jointrain.reports._searches import (
    SearchReport,
    report_groups,
    report_shared_depth,
    report_weights,
)
from jointrain.reports._study_answer import answer, interim_answer
from jointrain.reports._summary import folds_and_seeds, result_to_json
from jointrain.reports._terminal import print_interim, print_result
from jointrain.reports.page import (
    FIGURES,
    PAGE,
    read_figures,
    render_page,
    study_figures,
    write_page,
)

__all__ = [
    "FIGURES",
    "PAGE",
    "SearchReport",
    "answer",
    "answer_of_runs",
    "folds_and_seeds",
    "interim_answer",
    "print_interim",
    "print_result",
    "print_runs",
    "read_figures",
    "render_page",
    "report_groups",
    "report_shared_depth",
    "report_weights",
    "result_to_json",
    "runs_page",
    "runs_to_json",
    "study_figures",
    "write_markdown",
    "write_page",
]
