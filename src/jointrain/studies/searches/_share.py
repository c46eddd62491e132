"""Share: how many layers the tasks should share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Unpack

from jointrain.data import SupervisedTable
from jointrain.errors import InvalidInputError
from jointrain.experiments import SEPARATE, AnyExperiment, Experiment, Recipe
from jointrain.studies.searches._candidates import SearchResult
from jointrain.studies.searches._evaluator import SearchOptions, apart, open_search
from jointrain.studies.searches._split_networks import split_networks
from jointrain.tables import TableExperiment

SHARE_OF_ALL = 0.8
"""Share of a budget that is meant for all split points and seeds; nothing comes after them."""


@dataclass(frozen=True)
class ShareResult(SearchResult):
    """What a search for the split point found.

    Args:
        candidates: The figures of all split points.
        depths: How many layers each candidate shares, by its name; separate models are not in it.
    """

    depths: Mapping[str, int]

    @property
    def chosen(self) -> int:
        """The number of shared layers with the highest Delta-m; of equals the largest one."""
        return self.depths[self.candidates.chosen]

    @property
    def recommended(self) -> int:
        """How many to share, as `Candidates.recommended`; all of them is the plain choice."""
        return self.depths[self.candidates.recommended]


def search_shared_depth(
    experiment: AnyExperiment | SupervisedTable,
    recipe: Recipe | None = None,
    **options: Unpack[SearchOptions],
) -> ShareResult:
    """Search for the number of trunk blocks that the tasks should share.

    Every number from 0 (a trunk for each task, trained with the others) to all (one trunk) is
    measured on the same folds and seeds, beside separate models.

    Args:
        experiment: A table, or an `Experiment` whose networks are `HardSharing` with a trunk of
            several layers, see `split_networks`; all rows are inner rows, so keep a test set out of
            them.
        recipe: What to train, but for the shared depth; default `Recipe()`, joint training.
        **options: How it is measured, see `SearchOptions`.

    Raises:
        InvalidInputError: There is one task, nothing that can be cut, the recipe trains tasks
            separately, or a number lies outside its range.

    Source: R. Caruana, "Multitask Learning", Machine Learning 28, 1997, section 2 (sharing lower
        layers).
    """
    why_not = "nothing is shared where each task is trained separately"
    recipe, evaluator = open_search(experiment, recipe, why_not, **options)
    variants = _variants(evaluator.given, recipe)
    depth = len(variants) - 1
    named = {depth_text(depth - index, depth): one for index, one in enumerate(variants)}
    whole = depth_text(depth, depth)
    recipes = [apart(recipe), *(replace(one, name=name) for name, one in named.items())]
    evaluator.run_first(recipes, whole, share=SHARE_OF_ALL)
    candidates = evaluator.candidates(SEPARATE, whole, list(named))
    depths = {name: depth - list(named).index(name) for name in candidates.choices}
    return ShareResult(candidates, depths)


def _variants(experiment: AnyExperiment, recipe: Recipe) -> list[Recipe]:
    """Return the recipe with all blocks shared, with one less, ... with none."""
    if isinstance(experiment, Experiment):
        return [
            recipe if network is None else replace(recipe, network=network)
            for network in split_networks(experiment, recipe)
        ]
    if not isinstance(experiment, TableExperiment):
        raise InvalidInputError(
            "how many layers to share can't be asked of a loop of one's own; give an Experiment of "
            "modules and data"
        )
    return [replace(recipe, shared_depth=depth) for depth in range(recipe.depth, -1, -1)]


def depth_text(shared: int, depth: int) -> str:
    """Return what a split point is called."""
    return f"{shared} of {depth} shared"
