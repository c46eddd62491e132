"""Reports: a study's figures in words and charts: terminal, Markdown, JSON and a page."""

from jointrain.reports._given_runs import answer_of_runs, print_runs, runs_page, runs_to_json
from jointrain.reports._markdown import write_markdown
from jointrain.reports._searches import (
    CandidateWords,
    SearchReport,
    report_groups,
    report_search,
    report_shared_depth,
    report_weights,
)
from jointrain.reports._study_answer import answer, interim_answer
from jointrain.reports._summary import folds_and_seeds, result_to_json
from jointrain.reports._terminal import print_interim, print_result
from jointrain.reports.page import (
    FIGURES,
    PAGE,
    Figures,
    data_figures,
    interim_figures,
    prepare_page,
    read_figures,
    render_page,
    runs_figures,
    search_figures,
    study_figures,
    write_page,
)

__all__ = [
    "FIGURES",
    "PAGE",
    "CandidateWords",
    "Figures",
    "SearchReport",
    "answer",
    "answer_of_runs",
    "data_figures",
    "folds_and_seeds",
    "interim_answer",
    "interim_figures",
    "prepare_page",
    "print_interim",
    "print_result",
    "print_runs",
    "read_figures",
    "render_page",
    "report_groups",
    "report_search",
    "report_shared_depth",
    "report_weights",
    "result_to_json",
    "runs_figures",
    "runs_page",
    "runs_to_json",
    "search_figures",
    "study_figures",
    "write_markdown",
    "write_page",
]
