"""Reports: a study's figures in words, for the terminal, as Markdown and as JSON."""

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

__all__ = [
    "SearchReport",
    "answer",
    "answer_of_runs",
    "folds_and_seeds",
    "interim_answer",
    "print_interim",
    "print_result",
    "print_runs",
    "report_groups",
    "report_shared_depth",
    "report_weights",
    "result_to_json",
    "runs_page",
    "runs_to_json",
    "write_markdown",
]
