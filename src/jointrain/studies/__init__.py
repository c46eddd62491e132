"""Studies: many runs on the same folds and seeds, and what they show."""

from jointrain.studies._budget import run_within_budget
from jointrain.studies._changes import relative_changes
from jointrain.studies._chosen_model import fit_chosen
from jointrain.studies._cuts import Cut
from jointrain.studies._decision import CHEAPER, Decision, StudyFigures, decide
from jointrain.studies._equal_compute import Compute, with_equal_compute
from jointrain.studies._given_runs import RunVerdicts, verdict
from jointrain.studies._job_runner import run_jobs
from jointrain.studies._joint_prior import TableFacts, facts_of, joint_prior
from jointrain.studies._kept_runs import KeptRuns, write_runs
from jointrain.studies._measured import Measured
from jointrain.studies._measurements import StudyInterrupted
from jointrain.studies._run_store import RunStore
from jointrain.studies._seeds_needed import SeedsNeeded
from jointrain.studies._shipped_model import fit_shipped, rows_to_fit
from jointrain.studies._statistics import (
    DELTA_M,
    FEWEST_FOLDS,
    VERDICTS,
    Comparison,
    Unit,
    Verdict,
    corrected_resampled_t_test,
    delta_m,
    mean_and_deviation,
    mean_of_defined,
)
from jointrain.studies._study import Study
from jointrain.studies._study_result import SHIPPED, StudyResult, together_of
from jointrain.system.executors import DaskExecutor, RayExecutor, SlurmExecutor

__all__ = [
    "CHEAPER",
    "DELTA_M",
    "FEWEST_FOLDS",
    "SHIPPED",
    "VERDICTS",
    "Comparison",
    "Compute",
    "Cut",
    "DaskExecutor",
    "Decision",
    "KeptRuns",
    "Measured",
    "RayExecutor",
    "RunStore",
    "RunVerdicts",
    "SeedsNeeded",
    "SlurmExecutor",
    "Study",
    "StudyFigures",
    "StudyInterrupted",
    "StudyResult",
    "TableFacts",
    "Unit",
    "Verdict",
    "corrected_resampled_t_test",
    "decide",
    "delta_m",
    "facts_of",
    "fit_chosen",
    "fit_shipped",
    "joint_prior",
    "mean_and_deviation",
    "mean_of_defined",
    "relative_changes",
    "rows_to_fit",
    "run_jobs",
    "run_within_budget",
    "together_of",
    "verdict",
    "with_equal_compute",
    "write_runs",
]
