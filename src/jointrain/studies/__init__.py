"""Studies: many runs on the same folds and seeds, and what they show."""

from jointrain.studies._affinity import Affinity, AffinityTrainer, measure_affinity
from jointrain.studies._baselines import BASELINES
from jointrain.studies._candidates import Candidates
from jointrain.studies._flags import groups_text, pairs_text
from jointrain.studies._group import GroupResult, search_groups
from jointrain.studies._partition import best_partition
from jointrain.studies._share import ShareResult, search_shared_depth, search_split
from jointrain.studies._statistics import (
    Comparison,
    corrected_resampled_t_test,
    delta_m,
    holm,
    relative_changes,
)
from jointrain.studies._study import Study, default_recipes
from jointrain.studies._study_result import SEPARATE, SHIPPED, StudyResult
from jointrain.studies._weigh import WeighResult, search_weights

__all__ = [
    "BASELINES",
    "SEPARATE",
    "SHIPPED",
    "Affinity",
    "AffinityTrainer",
    "Candidates",
    "Comparison",
    "GroupResult",
    "ShareResult",
    "Study",
    "StudyResult",
    "WeighResult",
    "best_partition",
    "corrected_resampled_t_test",
    "default_recipes",
    "delta_m",
    "groups_text",
    "holm",
    "measure_affinity",
    "pairs_text",
    "relative_changes",
    "search_groups",
    "search_shared_depth",
    "search_split",
    "search_weights",
]
