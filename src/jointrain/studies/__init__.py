"""Studies: many runs on the same folds and seeds, and what they show."""

from jointrain.studies._baselines import BASELINES
from jointrain.studies._statistics import (
    Comparison,
    corrected_resampled_t_test,
    delta_m,
    holm,
    relative_changes,
)
from jointrain.studies._study import SEPARATE, Study, StudyResult, default_recipes

__all__ = [
    "BASELINES",
    "SEPARATE",
    "Comparison",
    "Study",
    "StudyResult",
    "corrected_resampled_t_test",
    "default_recipes",
    "delta_m",
    "holm",
    "relative_changes",
]
