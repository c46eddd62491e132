"""Searches: which weights, which groups, what to share, and who helps whom."""

from jointrain.studies.searches._affinity import (
    SHARED_ENOUGH,
    Affinity,
    AffinityGlance,
    AffinityTrainer,
    measure_affinity,
)
from jointrain.studies.searches._candidates import Candidates, RecipeSearchResult, SearchResult
from jointrain.studies.searches._evaluator import Evaluator, SearchOptions, apart, open_search
from jointrain.studies.searches._group import GroupResult, search_groups
from jointrain.studies.searches._own_blocks import search_split
from jointrain.studies.searches._partition import best_partition
from jointrain.studies.searches._share import ShareResult, search_shared_depth
from jointrain.studies.searches._weigh import WeighResult, search_weights

__all__ = [
    "SHARED_ENOUGH",
    "Affinity",
    "AffinityGlance",
    "AffinityTrainer",
    "Candidates",
    "Evaluator",
    "GroupResult",
    "RecipeSearchResult",
    "SearchOptions",
    "SearchResult",
    "ShareResult",
    "WeighResult",
    "apart",
    "best_partition",
    "measure_affinity",
    "open_search",
    "search_groups",
    "search_shared_depth",
    "search_split",
    "search_weights",
]
