"""Options of commands that take an experiment, ``module:name``, in place of a table."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from jointrain.cli._config_file import flag_named
from jointrain.cli._help_panels import PANELS
from jointrain.cli._settings import (
    CompareSettings,
    GroupSettings,
    SearchSettings,
    ShareSettings,
    TableSettings,
    WeighSettings,
)
from jointrain.cli._value_forms import Names
from jointrain.errors import InvalidInputError
from jointrain.system.own_code import imported, one_line

if TYPE_CHECKING:
    from jointrain.experiments import AnyExperiment, Recipe
    from jointrain.studies import Study

_OF_TABLES = {
    *PANELS["Data"], "targets", "ignore", "id", "group", "time", "task", "folds", "baselines",
    "ship", "network_option", "width", "depth", "dropout", "input_dropout", "shared_depth", "bins",
    "ensemble", "validation_fraction",
}  # fmt: skip
"""Flags that say what an experiment of one's own says itself."""

_OF_TRAINING = {*PANELS["Training"]} - {"seed"}
"""Flags that a loop of one's own can't obey."""


class ExperimentSettings(TableSettings):
    """Settings of a command on an experiment: those of a table's that make sense there."""

    targets: Names = Field([])

    @property
    def table_may_exist(self) -> bool:
        """Whether to start processes at once: the code is most often there."""
        return True

    @property
    def default_folder(self) -> Path:
        """The folder to write where none is named."""
        return Path(f"{self.table.replace(':', '-')}-answer")

    def opened(self) -> tuple[AnyExperiment, Study | None]:
        """Import the experiment, and the study that it stands in if that is what is named.

        Raises:
            InvalidInputError: The code can't be imported or names something else, or a flag makes
                no sense there.
        """
        from dataclasses import replace

        from jointrain.experiments import AnyExperiment, Experiment
        from jointrain.studies import Study

        self._refuse(_OF_TABLES, f"is for tables; {self.table} says it itself")
        thing: Any = imported(self.table)
        if callable(thing) and not isinstance(thing, (AnyExperiment, Study)):
            try:
                thing = thing()
            except InvalidInputError:
                raise
            except (Exception, SystemExit) as error:
                raise InvalidInputError(
                    f"{self.table} can't be called without arguments: {one_line(error)}"
                ) from error
        study = thing if isinstance(thing, Study) else None
        experiment = thing if study is None else study.experiment
        if not isinstance(experiment, AnyExperiment):
            raise InvalidInputError(
                f"{self.table} is a {type(thing).__name__}; name an Experiment, a Study of one, or "
                "a function that returns one"
            )
        if isinstance(experiment, Experiment):
            if "device" in self.model_fields_set:
                experiment = replace(experiment, device=self.device)
        else:
            self._refuse(_OF_TRAINING, f"is nothing that the loop of {self.table} can be told")
        return experiment, study

    def _refuse(self, flags: Collection[str], why: str) -> None:
        said = next((name for name in type(self).model_fields if name in self.model_fields_set
                     and name in flags), None)  # fmt: skip
        if said is not None:
            raise InvalidInputError(f"{flag_named(said)} {why}")


class ExperimentCompareSettings(ExperimentSettings, CompareSettings):
    """Settings of ``jointrain compare`` on an experiment."""

    def recipes_for(self, experiment: AnyExperiment, study: Study | None) -> Sequence[Recipe | str]:
        """Return the recipes to compare: those that are named, of the study, or the default.

        Raises:
            InvalidInputError: A loop's recipes are not named.
        """
        from jointrain.experiments import SEPARATE, Experiment

        if isinstance(experiment, Experiment):
            if study is None:
                return [*self.chosen_recipes()]
            known = {recipe.name: recipe for recipe in study.recipes}
            if not self.recipes:
                return list(known.values())
            made = {recipe.name: recipe for recipe in self.chosen_recipes()}
            return [known.get(name, recipe) for name, recipe in made.items()]
        if study is not None and not self.recipes:
            return list(study.recipes)
        if not self.recipes:
            raise InvalidInputError(
                f"say what the loop of {self.table} is to be called with: --recipes separate,..."
            )
        return self.recipes if SEPARATE in self.recipes else [SEPARATE, *self.recipes]


class ExperimentSearchSettings(ExperimentSettings, SearchSettings):
    """Settings of a search on an experiment."""

    @property
    def search(self) -> dict[str, Any]:
        """What all searches are told; the experiment says itself how it is split."""
        return {**super().search, "folds": None}


class ExperimentWeighSettings(ExperimentSearchSettings, WeighSettings):
    """Settings of ``jointrain weigh`` on an experiment."""


class ExperimentGroupSettings(ExperimentSearchSettings, GroupSettings):
    """Settings of ``jointrain group`` on an experiment."""


class ExperimentShareSettings(ExperimentSearchSettings, ShareSettings):
    """Settings of ``jointrain share`` on an experiment."""
