"""The runs that train the networks of a recipe on encoded rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from jointrain.data import (
    TensorData,
)
from jointrain.errors import InvalidInputError
from jointrain.experiments import Members, Recipe, gradient_weights, requested_recipes, size_weights
from jointrain.task import (
    CodeColumns,
    Task,
)
from jointrain.training import (
    CrossFittedWeights,
    FitRuns,
    FittedNetwork,
    Merge,
    Phases,
    Run,
    Strategy,
    Trainer,
    fit_one_by_one,
    random_state_kept,
)
from jointrain.training.callbacks import Callback
from jointrain.training.sampling import derived_seed


def member_seed(seed: int, member: int) -> int:
    """Return the seed of a member of an ensemble; the first has the ensemble's own."""
    return seed if member == 0 else derived_seed(seed, f"member {member}")


def fit_parts(
    recipe: Recipe,
    data: TensorData,
    tasks: Sequence[Task],
    splits: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    seed: int,
    device: str | torch.device = "cpu",
    callbacks: Sequence[Callback] = (),
    fit_runs: FitRuns = fit_one_by_one,
    start: Sequence[FittedNetwork] = (),
    first_halves: Sequence[int] = (),
    strategy: Strategy | None = None,
) -> tuple[FittedNetwork, ...]:
    """Train the networks of a recipe.

    Args:
        recipe: What to train.
        data: Inputs and standardised targets of all rows.
        tasks: The tasks.
        splits: For each member of the ensemble the rows to train on and those for early stopping,
            which may be none.
        seed: Seed of the initial weights, batches, task order and dropout.
        device: Where to train.
        callbacks: Hooks of the trainers.
        fit_runs: Fits the trainers.
        start: Networks whose weights the training begins with, one for each that it leaves;
            default fresh ones.
        first_halves: For each member, `first_half` of `prepare_runs`; default no halves.
        strategy: Of the trainers, see `Trainer`.

    Raises:
        InvalidInputError: A task has no label in the training rows, a loss is not finite, or the
            networks to start from are others.
    """

    def fit(recipes: Sequence[Recipe]) -> list[Members]:
        runs = [
            [
                prepare_runs(
                    chosen,
                    data.take(torch.from_numpy(train)),
                    data.take(torch.from_numpy(validation)) if len(validation) else None,
                    tasks,
                    seed=member_seed(seed, member),
                    device=device,
                    callbacks=callbacks,
                    first_half=first_halves[member] if first_halves else 0,
                    make_trainer=partial(Trainer, strategy=strategy),
                )
                for member, (train, validation) in enumerate(splits)
            ]
            for chosen in recipes
        ]
        every = [run for of_recipe in runs for of_member in of_recipe for run in of_member]
        if start:
            start_from(every, start)
        fit_runs(every)
        return [
            [[part for run in of_member for part in run.parts()] for of_member in of_recipe]
            for of_recipe in runs
        ]

    wanted = requested_recipes(recipe, tasks)
    recipes = next(wanted)
    while True:
        try:
            recipes = wanted.send(fit(recipes))
        except StopIteration as end:
            return tuple(part for parts in end.value for part in parts)


def start_from(runs: Sequence[Run], parts: Sequence[FittedNetwork]) -> None:
    """Give the networks of runs, which are not fitted yet, the weights of others, one for one.

    Raises:
        InvalidInputError: The others are of another number, or have other tasks or layers.
    """
    if [tuple(run.trainer.tasks) for run in runs] != [part.tasks for part in parts]:
        raise InvalidInputError(
            f"there are {len(parts)} networks to go on from, and those to be trained are "
            f"{len(runs)} or divide the tasks otherwise; keep `schedule`, `partition` and "
            "`ensemble` as they were, or begin anew"
        )
    weights = [part.network.state_dict() for part in parts]
    for run, given in zip(runs, weights, strict=True):
        own = run.trainer.network.state_dict()
        if _shapes(own) != _shapes(given):
            raise InvalidInputError(
                "the networks to go on from have other layers than those to be trained; keep "
                "`width`, `depth` and the recipe's network as they were, or begin anew"
            )
    for run, part in zip(runs, parts, strict=True):
        part.give_weights(run.trainer.network)


def _shapes(state: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in state.items()}


def refuse_rules_of_other_runs(recipe: Recipe, what: str) -> None:
    """Refuse rules of weights that train fresh networks first, where others are to go on.

    Raises:
        InvalidInputError: The recipe has such a rule.
    """
    if recipe.weighs_by_other_runs:
        raise InvalidInputError(
            f"{what} goes on with networks, and weights by {recipe.weights!r} need runs of fresh "
            "ones; use 'equal', 'size' or a number for each target"
        )


def prepare_runs(
    recipe: Recipe,
    train: TensorData,
    validation: TensorData | None,
    tasks: Sequence[Task],
    *,
    seed: int,
    device: str | torch.device = "cpu",
    callbacks: Sequence[Callback] = (),
    first_half: int = 0,
    make_trainer: Callable[..., Trainer] = Trainer,
) -> list[Run]:
    """Return the runs of a recipe, one for each network, ready to be fitted.

    Args:
        recipe: What to train; a rule of weights that needs other runs is left to
            `requested_recipes`.
        train: Rows to train on.
        validation: Rows for early stopping, None for none.
        tasks: The tasks.
        seed: Seed of the initial weights, batches, task order and dropout.
        device: Where to train.
        callbacks: Hooks of the trainers.
        first_half: How many of the validation rows, the first ones, are a half whose predictions
            are to come from weights that the others have chosen, see `CrossFittedWeights`; 0 for
            no halves.
        make_trainer: Makes the trainers, of what `Trainer` takes.
    """
    recipe = recipe.for_tasks(tasks, train.inputs.shape[1], train.codes)
    names = [task.name for task in tasks]
    weights = recipe.given_weights(names)
    recipe.auxiliary_among(names)
    _check_given_is_predicted(tasks, recipe.auxiliary)
    if recipe.weights == "size":
        weights = size_weights(
            {task.name: int(task.labelled(train.targets[task.name]).sum()) for task in tasks}
        )
    elif recipe.weights == "gradients" and not recipe.trains_apart:
        weights = _explored_weights(recipe, train, tasks, seed, device)
    by_name = {task.name: task for task in tasks}
    return [
        _prepare_run(
            recipe,
            train,
            validation,
            [by_name[name] for name in group],
            names,
            weights,
            seed,
            device,
            callbacks,
            first_half,
            make_trainer,
        )
        for group in recipe.groups(names)
    ]


def _check_given_is_predicted(tasks: Sequence[Task], auxiliary: Sequence[str]) -> None:
    """Refuse an auxiliary task that another one is given: without it, that has no labels.

    Raises:
        InvalidInputError: There is such a task.
    """
    for task in tasks:
        if task.given in auxiliary and task.name not in auxiliary:
            raise InvalidInputError(
                f"{task.name!r} is given {task.given!r}, so {task.given!r} can't be auxiliary; "
                "take it as a target like the others"
            )


def _explored_weights(
    recipe: Recipe, train: TensorData, tasks: Sequence[Task], seed: int, device: str | torch.device
) -> dict[str, float]:
    """Return the rule ``gradients``' weights: group by group, from a part of a joint run."""
    by_name = {task.name: task for task in tasks}
    weights: dict[str, float] = {}
    for group in recipe.groups(list(by_name)):
        members = [by_name[name] for name in group]
        with random_state_kept():
            torch.manual_seed(seed)
            network = recipe.make_network(train.inputs.shape[1], members, train.codes).float()
        weights |= gradient_weights(
            network,
            members,
            train,
            epochs=recipe.chosen_epochs(len(train)),
            settings=recipe.settings(
                len(train),
                validates=False,
                calibrated=True,
                explores=True,
                absent=by_name.keys() - set(group),
            ),
            seed=seed,
            device=device,
        )
    return weights


def _prepare_run(
    recipe: Recipe,
    train: TensorData,
    validation: TensorData | None,
    tasks: Sequence[Task],
    every: Sequence[str],
    weights: Mapping[str, float] | None,
    seed: int,
    device: str | torch.device,
    callbacks: Sequence[Callback],
    first_half: int,
    make_trainer: Callable[..., Trainer],
) -> Run:
    """Return the run of tasks that share a network."""
    rows = int(
        torch.stack([task.labelled(train.targets[task.name]) for task in tasks]).any(0).sum()
    )
    validation = with_main_labels(validation, recipe, tasks)
    trainer = recipe_trainer(
        recipe,
        tasks,
        in_features=train.inputs.shape[1],
        codes=train.codes,
        rows=rows,
        weights=weights,
        every=every,
        validates=validation is not None,
        seed=seed,
        device=device,
        callbacks=callbacks,
        make_trainer=make_trainer,
    )
    phased = isinstance(recipe.schedule, Phases)
    merged = isinstance(recipe.schedule, Merge)
    # phases stop by rows of their own, and may end with several networks; a merged network is not
    # one of those that an epoch has left
    if validation is None or phased or merged or not first_half:
        return Run(trainer, train, validation)
    return Run(trainer, train, validation, CrossFittedWeights(validation, first_half))


def with_main_labels(
    validation: TensorData | None, recipe: Recipe, tasks: Sequence[Task]
) -> TensorData | None:
    """Return validation rows of tasks that share a network; None if no main task has a label."""
    auxiliary = recipe.auxiliary_in([task.name for task in tasks])
    if validation is None or not any(
        bool(task.labelled(validation.targets[task.name]).any())
        for task in tasks
        if task.name not in auxiliary
    ):
        return None
    return validation


def recipe_trainer(
    recipe: Recipe,
    tasks: Sequence[Task],
    *,
    in_features: int,
    codes: Sequence[CodeColumns],
    rows: int,
    weights: Mapping[str, float] | None,
    every: Sequence[str],
    validates: bool,
    seed: int,
    device: str | torch.device,
    callbacks: Sequence[Callback] = (),
    make_trainer: Callable[..., Trainer] = Trainer,
) -> Trainer:
    """Return the trainer of tasks that share a network, as a recipe says.

    Args:
        recipe: For all tasks, see `Recipe.for_tasks`.
        tasks: Those of the network.
        in_features: Number of its inputs.
        codes: Which of them are codes.
        rows: Rows to train on that have a label.
        weights: Of the losses by task.
        every: Names of all tasks, also of those that other networks have.
        validates: Whether there are validation rows.
        seed: Seed of the initial weights, batches, task order and dropout.
        device: Where to train.
        callbacks: Hooks of the trainer.
        make_trainer: Makes it, of what `Trainer` takes.
    """
    with random_state_kept():
        torch.manual_seed(seed)
        network = recipe.make_network(in_features, tasks, codes).float()  # as the features
    return make_trainer(
        network,
        tasks,
        **recipe.trainer_options(
            [task.name for task in tasks],
            every,
            weights=weights,
            rows=rows,
            validates=validates,
            calibrated=True,
        ),
        seed=seed,
        device=device,
        callbacks=callbacks,
    )
