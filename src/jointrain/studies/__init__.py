"""Studies: many runs on the same folds and seeds, and what they show."""

from jointrain.studies._affinity import (
    SHARED_ENOUGH,
    Affinity,
    AffinityTrainer,
    measure_affinity,
)
from jointrain.studies._baselines import BASELINES, CONSTANT, FIRST_BASELINES, check_baseline
from jointrain.studies._blend import Blend
from jointrain.studies._blended_model import BlendedModel, FittedBaseline, fit_shipped
from jointrain.studies._budget import run_within_budget
from jointrain.studies._candidates import Candidates
from jointrain.studies._catalogue import SEPARATE, default_recipes, named_recipes
from jointrain.studies._changes import relative_changes
from jointrain.studies._decision import Decision, StudyFigures, decide
from jointrain.studies._flags import groups_text, pairs_text
from jointrain.studies._group import GroupResult, search_groups
from jointrain.studies._job_runner import run_jobs
from jointrain.studies._partition import best_partition
from jointrain.studies._share import ShareResult, search_shared_depth, search_split
from jointrain.studies._statistics import (
    Comparison,
    Unit,
    Verdict,
    corrected_resampled_t_test,
    delta_m,
)
from jointrain.studies._study import Study, StudyInterrupted
from jointrain.studies._study_result import SHIPPED, StudyResult
from jointrain.studies._weigh import WeighResult, search_weights

__all__ = [
    "BASELINES",
    "CONSTANT",
    "FIRST_BASELINES",
    "SEPARATE",
    "SHARED_ENOUGH",
    "SHIPPED",
    "Affinity",
    "AffinityTrainer",
    "Blend",
    "BlendedModel",
    "Candidates",
    "Comparison",
    "Decision",
    "FittedBaseline",
    "GroupResult",
    "ShareResult",
    "Study",
    "StudyFigures",
    "StudyInterrupted",
    "StudyResult",
    "Unit",
    "Verdict",
    "WeighResult",
    "best_partition",
    "check_baseline",
    "corrected_resampled_t_test",
    "decide",
    "default_recipes",
    "delta_m",
    "fit_shipped",
    "groups_text",
    "measure_affinity",
    "named_recipes",
    "pairs_text",
    "relative_changes",
    "run_jobs",
    "run_within_budget",
    "search_groups",
    "search_shared_depth",
    "search_split",
    "search_weights",
]
