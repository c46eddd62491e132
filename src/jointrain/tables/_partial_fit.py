"""PartialFit: a table's model that is trained on, one pass over each batch of rows that comes."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch

from jointrain.data import SupervisedTable, TensorData
from jointrain.errors import InvalidInputError
from jointrain.experiments import Recipe
from jointrain.tables._calibration import Calibration
from jointrain.tables._fit_table import encode_table, make_data, target_scaling
from jointrain.tables._network_runs import (
    member_seed,
    prepare_runs,
    refuse_rules_of_other_runs,
    start_from,
)
from jointrain.tables._table_model import TableModel, encoded_features
from jointrain.training import FittedNetwork, Merge, Phases, Trainer
from jointrain.training.sampling import derived_seed


class PartialFit:
    """A table's model that is trained on, one pass over each batch of rows that comes.

    Encoder and scaling stay as they are; the number of networks, where the recipe leaves it open,
    and the rows of a step are chosen by the rows of the first pass. The learning rate is constant,
    as nothing says how many batches will come. All rows are trained on: nothing stops early, and
    nothing is calibrated anew: temperatures stay, and there are no intervals.

    Args:
        model: What to begin with: a fitted model, or one without networks, see `begin`.
        device: Where to train: auto, cpu or cuda.

    Raises:
        InvalidInputError: The recipe can't be trained by single passes.
    """

    def __init__(self, model: TableModel, device: str | torch.device = "auto") -> None:
        if isinstance(model.recipe.schedule, (Phases, Merge)):
            raise InvalidInputError(
                "partial_fit makes one pass over the rows, and phases and merging have lengths of "
                "their own; use a joint, alternating or separate schedule, or fit"
            )
        refuse_rules_of_other_runs(model.recipe, "partial_fit")
        # temperatures stay as the scaling does; intervals promise a coverage of these weights alone
        self._model = replace(model, calibration=Calibration(model.calibration.temperatures))
        self._device = device
        self._members: list[list[Trainer]] | None = None
        self._passes = 0

    @classmethod
    def begin(
        cls,
        table: SupervisedTable,
        recipe: Recipe,
        *,
        seed: int = 0,
        device: str | torch.device = "auto",
        sparse: Any = None,
    ) -> PartialFit:
        """Return one without networks yet, with encoder and scaling by the rows of `table`.

        Args:
            table: The first batch, which is not trained on yet.
            recipe: How to train.
            seed: Seed of all random choices.
            device: Where to train: auto, cpu or cuda.
            sparse: The features as for `fit_table`.

        Raises:
            InvalidInputError: The table or the recipe can't be used as they are.
        """
        recipe.check_tasks([task.name for task in table.tasks])
        encoder, _ = encode_table(table, recipe, seed, sparse)
        scaling = target_scaling(table.labels(), table.tasks, table.fit_weights())
        model = TableModel(
            table.tasks, table.columns, encoder, scaling, (), recipe, seed, schema=table.schema
        )
        return cls(model, device)

    def train(self, table: SupervisedTable, sparse: Any = None) -> TableModel:
        """Make one pass over the rows of a table, and return the model as it is then.

        Args:
            table: Rows with the features and tasks of the model.
            sparse: The features as for `fit_table`.

        Raises:
            InvalidInputError: A feature is missing or of another type, a task has no label, class
                weights are to be balanced, which takes all rows, or a loss is not finite.
        """
        if "balanced" in table.class_weights.values():
            raise InvalidInputError(
                "balanced class weights count the classes of all rows, and partial_fit sees a part "
                "of them; give a weight for each class"
            )
        model = self._model
        frame = table.frame if sparse is None else sparse
        inputs = encoded_features(model, frame)
        data = make_data(
            inputs,
            table.labels(),
            model.tasks,
            model.scaling,
            table.fit_weights(),
            model.encoder.code_columns,
        )
        if self._members is None:
            self._members = self._prepared(data)
        self._passes += 1
        parts = []
        for member, trainers in enumerate(self._members):
            seed = derived_seed(member_seed(model.seed, member), f"pass {self._passes}")
            for trainer in trainers:
                trainer.seed = seed
                trainer.fit(data)
                parts += [self._copied(part) for part in trainer.fitted_networks()]
        self._model = replace(model, parts=tuple(parts))
        return self._model

    def _prepared(self, data: TensorData) -> list[list[Trainer]]:
        model = self._model
        groups = len(model.recipe.groups([task.name for task in model.tasks]))
        count = len(model.parts) // groups or model.recipe.chosen_ensemble(len(data))
        recipe = replace(
            model.recipe,
            epochs=1,
            warm_up=0.0,
            decay="none",
            lr_scheduler=None,
            lr_scheduler_options=(),
        )
        members = [
            prepare_runs(
                recipe,
                data,
                None,
                model.tasks,
                seed=member_seed(model.seed, member),
                device=self._device,
            )
            for member in range(count)
        ]
        if model.parts:
            start_from([run for runs in members for run in runs], model.parts)
        return [[run.trainer for run in runs] for runs in members]

    def _copied(self, part: FittedNetwork) -> FittedNetwork:
        """Return a part that later passes leave as it is."""
        network = copy.deepcopy(part.network).to("cpu")
        return replace(part, network=network, epochs=(self._passes, self._passes))
