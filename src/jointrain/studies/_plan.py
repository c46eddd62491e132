"""StudyPlan: what a study is to run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from jointrain.baselines import FIRST_BASELINES, check_predicts
from jointrain.data import SupervisedTable
from jointrain.errors import InvalidInputError
from jointrain.studies._statistics import MARGIN, check_margin
from jointrain.tables import SEPARATE, Recipe, default_recipes


@dataclass(frozen=True)
class StudyPlan:
    """Recipes and baselines, and the folds and seeds of a table that they are to be run on.

    Its arguments are those of `Study`, which can run it.
    """

    table: SupervisedTable
    recipes: Sequence[Recipe] = ()
    baselines: Sequence[str] = FIRST_BASELINES
    folds: int = 5
    seeds: int = 3
    seed: int = 0
    ship: Literal["any", "networks"] = "any"
    margin: float = MARGIN

    def __post_init__(self) -> None:
        if not self.recipes:
            object.__setattr__(self, "recipes", default_recipes())
        if self.folds < 2:
            raise InvalidInputError(f"`folds` must be at least 2, got {self.folds}")
        if self.seeds < 1:
            raise InvalidInputError(f"`seeds` must be at least 1, got {self.seeds}")
        check_margin(self.margin)
        if self.ship not in ("any", "networks"):
            raise InvalidInputError(f"`ship` must be 'any' or 'networks', got {self.ship!r}")
        names = [recipe.name for recipe in self.recipes] + list(self.baselines)
        if len(set(names)) != len(names):
            raise InvalidInputError(f"recipes and baselines must have different names, got {names}")
        if SEPARATE not in names:
            raise InvalidInputError(
                f"one recipe must be named {SEPARATE!r}: the others are compared with it"
            )
        for name in self.baselines:
            check_predicts(name, self.table.tasks)
        tasks = [task.name for task in self.table.tasks]
        for recipe in self.recipes:
            recipe.check()
            recipe.given_weights(tasks)
            recipe.groups(tasks)
