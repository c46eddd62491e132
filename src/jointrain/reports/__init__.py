"""Reports: a study's figures in words, for the terminal, as Markdown and as JSON."""

from jointrain.reports._markdown import write_markdown
from jointrain.reports._searches import (
    SearchReport,
    report_groups,
    report_shared_depth,
    report_weights,
)
from jointrain.reports._summary import answer, result_to_json, study_answer
from jointrain.reports._terminal import print_result

__all__ = [
    "SearchReport",
    "answer",
    "print_result",
    "report_groups",
    "report_shared_depth",
    "report_weights",
    "result_to_json",
    "study_answer",
    "write_markdown",
]
