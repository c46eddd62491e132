"""Experiment: one's own modules and data as a study knows them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from jointrain.baselines import Baseline
from jointrain.data import TensorData, effective_rows, outer_folds, validation_split
from jointrain.errors import InvalidInputError
from jointrain.experiments._any_experiment import AnyExperiment, as_tasks
from jointrain.experiments._fold import Fold
from jointrain.experiments._fold_overlaps import fold_overlaps
from jointrain.experiments._job_parts import job_parts
from jointrain.experiments._loop_experiment import LoopExperiment
from jointrain.experiments._module_runs import ModuleFold, ModuleJob
from jointrain.experiments._recipe import Recipe
from jointrain.experiments._recipe_runs import fit_recipe
from jointrain.experiments._row_layout import RowLayout
from jointrain.experiments._splits import Folds, Given, Holdout, Splits, is_share
from jointrain.networks import Network
from jointrain.system.own_code import CodeReference, digest_of, one_line
from jointrain.task import Task
from jointrain.training import NetworkModel, Run, Trainer, random_state_kept
from jointrain.training.population import why_not_stacked

TABLES_ALONE = (
    "network_options", "width", "depth", "dropout", "input_dropout", "shared_depth", "bins",
    "ensemble", "validation_fraction",
)  # fmt: skip
"""Fields of a recipe that an experiment of one's own modules has no use for."""

LABELS_KEPT = 40
"""Labels of each class, or of a task without classes, that a sample holds if there are any."""


@dataclass(frozen=True, eq=False)
class Experiment(AnyExperiment):
    """One's own modules and data: what a study compares recipes on.

    Args:
        tasks: The tasks; each needs a metric.
        network: Called with the tasks of a run, some of them or one alone, and returns a fresh
            `jointrain.networks.Network` each time, initialised from torch's random state. A recipe
            may bring its own: ``Recipe(network=...)``.
        data: `TensorData`, a torch ``Dataset``, a `DataSource`, a data set for each task or tuple
            of tasks, or a `Mixture`. Left out where `Given` names data sets.
        splits: `Folds` (default, five), `Holdout` or `Given`.
        device: Where to train: ``cpu`` (default), ``cuda`` or ``auto``. The default is no GPU,
            which the processes of a study would share.
        check_rows: Whether to refuse test rows with the same inputs as a training row; by default
            rows are told apart by their place alone. Reads all rows.
        sampled: On about how many rows to train, and the seed that draws them, see `sample`.
            None (default): all rows.

    Raises:
        InvalidInputError: Names are not unique, a task has no metric or no data, or the splits do
            not fit the data.

    Examples:
        >>> import torch
        >>> from jointrain import Task, TensorData
        >>> from jointrain.experiments import Experiment, Folds
        >>> from jointrain.networks import MLP, HardSharing, make_heads
        >>> x = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
        >>> tasks = [Task.regression("sum"), Task.binary("sign")]
        >>> data = TensorData(x, {"sum": x.sum(1), "sign": (x[:, 0] > 0).float()})
        >>> experiment = Experiment(
        ...     tasks,
        ...     lambda tasks: HardSharing(MLP(4, [8]), make_heads(8, tasks)),
        ...     data,
        ...     Folds(3),
        ... )
        >>> [len(fold.test) for fold in experiment.folds_of(0)]
        [20, 20, 20]
    """

    tasks: tuple[Task, ...]
    network: Callable[[Sequence[Task]], Network]
    data: Any = None
    splits: Splits = field(default_factory=Folds)
    device: str | torch.device = "cpu"
    check_rows: bool = False
    sampled: tuple[int, int] | None = None

    if TYPE_CHECKING:  # any sequence of tasks is taken, and kept as a tuple

        def __init__(
            self,
            tasks: Sequence[Task],
            network: Callable[[Sequence[Task]], Network],
            data: Any = None,
            splits: Splits = ...,
            device: str | torch.device = "cpu",
            check_rows: bool = False,
            sampled: tuple[int, int] | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        object.__setattr__(self, "tasks", as_tasks(self.tasks))
        _check_device(self.device)
        if not callable(self.network):
            raise InvalidInputError(
                f"`network` must be called with tasks and return a network, got {self.network!r}"
            )
        if isinstance(self.network, torch.nn.Module):
            raise InvalidInputError(
                "`network` is one network that all runs would share; give a function of tasks that "
                "makes a fresh one"
            )
        if not isinstance(self.splits, (Folds, Holdout, Given)):
            raise InvalidInputError(
                f"`splits` must be Folds, Holdout or Given, got {self.splits!r}"
            )
        _ = self._layout

    @staticmethod
    def of(
        *,
        run: Callable[[Any, int, Any], Any],
        tasks: Sequence[Task],
        splits: Sequence[Any] | int | None = None,
    ) -> LoopExperiment:
        """Return an experiment that a loop of one's own trains and scores.

        Args:
            run: Called with a recipe (as it was given to the study), a seed and a split; returns
                ``{task: {metric: value}}``, with the first metric of each task at least, measured
                on the split's test rows. With ``(test, validation)``, figures of either part, the
                recipe is chosen by the latter; a third entry may hold costs by name, such as
                ``{"parameters": 1e6, "steps": 500, "work": 3e9}``: the work, in any unit, tells
                which of two recipes is cheaper. Where it raises, the recipe is marked as failed,
                and the others go on.
            tasks: The tasks, for their names and metrics.
            splits: What `run` is called with: a value for each split, such as pairs of row numbers
                to train and to test on, or their number k (then the numbers 0 to k - 1). Without
                row numbers they are taken for the folds of a cross-validation. Default: one fixed
                test set, and the split is None.

        Raises:
            InvalidInputError: `run` can't be called, a task has no metric, or there is no split.

        Examples:
            >>> from jointrain import Study, Task
            >>> from jointrain.experiments import Experiment
            >>> def run(recipe, seed, split):
            ...     return {"y": {"RMSE": 1.0 + (recipe == "separate") + 0.01 * seed}}
            >>> experiment = Experiment.of(run=run, tasks=[Task.regression("y")])
            >>> Study(experiment, ["separate", "joint"], seeds=5).run(workers=1).verdict()["y"]
            'better'
        """
        if isinstance(splits, Integral) and not isinstance(splits, bool):
            splits = range(int(splits))
        try:
            given = (None,) if splits is None else tuple(splits)  # type: ignore[arg-type]
        except TypeError:
            raise InvalidInputError(
                "`splits` must be a whole number, or hold what `run` is called with for each "
                f"split, got {splits!r}"
            ) from None
        return LoopExperiment(run, as_tasks(tasks), given)

    @cached_property
    def _fresh(self) -> list[Any]:
        """Factories that were found to make fresh networks."""
        return []

    @cached_property
    def _layout(self) -> RowLayout:
        return RowLayout.of(self.data, self.splits, self.tasks)

    @property
    def _spread(self) -> list[Task]:
        return self._layout.parts[0].spread_tasks

    @property
    def folds(self) -> int:  # type: ignore[override]
        """Number of splits of a repetition."""
        if isinstance(self.splits, Folds):
            return self.splits.count
        return 1 if isinstance(self.splits, Holdout) else len(self.splits.splits)

    @property
    def any_folds(self) -> bool:  # type: ignore[override]
        """Whether the splits are `Folds`."""
        return isinstance(self.splits, Folds)

    @property
    def fixed_test(self) -> bool:  # type: ignore[override]
        """Whether all repetitions test the same rows once."""
        return self.folds == 1

    @property
    def row_count(self) -> int:
        """Number of rows that are cut into parts."""
        most = self._layout.parts[0].count
        return most if self.sampled is None else min(self.sampled[0], most)

    def splits_in_words(self) -> str:
        """Return how rows are split, in words."""
        splits = self.splits
        words = "spread evenly over folds"
        if isinstance(splits, Given):
            words = "as they were given"
        elif isinstance(splits, Holdout):
            words = "one test set for all seeds"
        if splits.time is not None:
            words += ", training rows before test rows" if isinstance(splits, Folds) else ""
        if splits.groups is not None:
            words += ", each group of rows on one side"
        if is_share(splits.validation):
            words += f"; {100 * splits.validation:g} % of the training rows for early stopping"
        return words

    def digest(self) -> str:
        """Return a hash of data, tasks, network and splits."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        splits = self.splits
        told = {
            "tasks": [
                [task.name, task.kind, [str(c) for c in task.classes], digest_of(task)]
                for task in self.tasks
            ],
            "network": digest_of(self.network),
            "data": [part.digest() for part in self._layout.parts],
            "splits": [type(splits).__name__, self.folds, self._layout.digest()],
            "validation": splits.validation if is_share(splits.validation) else None,
            "device": torch.device(self.device).type if self.device != "auto" else "auto",
            "sampled": self.sampled,
        }
        return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()

    # --- rows ------------------------------------------------------------------------------------

    def folds_of(self, seed: int) -> list[Fold]:
        """Return the splits of a repetition; `train` holds the rows for early stopping, too.

        Raises:
            InvalidInputError: The rows can't be split so, or training and test rows are the same.
        """
        layout, splits = self._layout, self.splits
        if isinstance(splits, Folds):
            rows = self._used(np.arange(layout.parts[0].count))
            found = outer_folds(
                layout.labels[rows], self._spread, splits.count, seed,
                groups=layout.groups_of(rows), time=layout.time_of(rows),
            )  # fmt: skip
            pairs = [(rows[train], rows[test]) for train, test in found]
        else:
            pairs = [
                (self._used(np.union1d(train, () if held_out is None else held_out)), test)
                for train, held_out, test in layout.fixed
            ]
        folds = [
            Fold(number, seed, train.astype(np.int64), test)
            for number, (train, test) in enumerate(pairs)
        ]
        for fold in folds:
            self._check_apart(fold)
        return folds

    def _used(self, rows: np.ndarray) -> np.ndarray:
        """Return those of the rows that are in the sample, if there is one."""
        if self.sampled is None or len(rows) <= self.sampled[0]:
            return rows
        count, seed = self.sampled
        order = np.random.default_rng([seed, len(rows)]).permutation(len(rows))
        chosen = np.zeros(len(rows), dtype=bool)
        chosen[order[:count]] = True
        labels = self._layout.labels[rows[order]]
        for column in labels.T:
            # rare labels, and those of small data sets, must not vanish
            for code in np.unique(column[np.isfinite(column)]):
                chosen[order[np.flatnonzero(column == code)[:LABELS_KEPT]]] = True
        return rows[chosen]

    def _check_apart(self, fold: Fold) -> None:
        self._layout.check_apart(fold.number, fold.train, fold.test)
        if self.check_rows:
            seen = self._layout.hashes(fold.train)
            for digest, row in self._layout.hashes(fold.test).items():
                if digest in seen:
                    raise InvalidInputError(
                        f"test row {row} of split {fold.number} has the same inputs as training "
                        f"row {seen[digest]}; keep such rows on one side by `groups`"
                    )

    def held_out(self, fold: Fold) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows of a split to train on, and those for early stopping."""
        layout, splits = self._layout, self.splits
        given = None
        # the fit of the model to keep has no test rows, and is none of several splits
        if layout.fixed and (len(fold.test) or self.fixed_test):
            given = layout.fixed[fold.number][1]
        if given is not None:
            return np.setdiff1d(fold.train, given), np.intersect1d(fold.train, given)
        rows = fold.train
        train, validation = validation_split(
            layout.labels[rows], self._spread, float(splits.validation), fold.seed,
            groups=layout.groups_of(rows), time=layout.time_of(rows),
        )  # fmt: skip
        return rows[train], rows[validation]

    def take(self, rows: np.ndarray, tasks: Sequence[str], *, training: bool) -> Any:
        """Return some rows with the targets of some tasks, as a trainer takes them.

        Args:
            rows: Their numbers.
            tasks: Names of tasks.
            training: Whether a mixture's sampling is kept.
        """
        return self._layout.take(rows, tasks, training=training)

    def known_rows(self, rows: np.ndarray, tasks: Sequence[str]) -> int:
        """Return how many of some rows have a label of one of the tasks."""
        columns = [index for index, task in enumerate(self.tasks) if task.name in tasks]
        return int(np.isfinite(self._layout.labels[rows][:, columns]).any(1).sum())

    def effective_labels(self, rows: np.ndarray) -> dict[str, int]:
        """Return as how many labels of equal weight those of each task in some rows count."""
        labels, weights = self._layout.labels[rows], self._layout.weights[rows]
        return {
            task.name: round(effective_rows(weights[np.isfinite(labels[:, index]), index]))
            for index, task in enumerate(self.tasks)
        }

    def labels_among(self, rows: np.ndarray) -> dict[str, int]:
        """Return how many of some rows have each task's label."""
        counts = np.isfinite(self._layout.labels[rows]).sum(0).tolist()
        return {task.name: count for task, count in zip(self.tasks, counts, strict=True)}

    def labelled(self) -> np.ndarray:
        """Return which of the rows that are cut into parts have which label, [n, t] of bool."""
        return np.asarray(np.isfinite(self._layout.labels[: self._layout.parts[0].count]))

    def overlaps(self, folds: Sequence[Fold]) -> dict[str, np.ndarray]:
        """Return `fold_overlaps` of the rows."""
        layout = self._layout
        return fold_overlaps(self._spread, layout.labels, folds, layout.groups)

    # --- networks and runs -----------------------------------------------------------------------

    def make_network(self, recipe: Recipe, tasks: Sequence[Task]) -> Network:
        """Return the network of a run, of the recipe's own factory if it has one.

        Raises:
            InvalidInputError: It is no network, lacks a task, or could not be made.
        """
        own = not isinstance(recipe.network, (str, CodeReference))
        make: Any = recipe.network if own else self.network
        whose = f"of recipe {recipe.name!r} " if own else ""
        names = [task.name for task in tasks]
        try:
            made = make(tasks)
        except (Exception, SystemExit) as error:
            raise _ForeignError(
                f"`network` {whose}failed for {', '.join(names)}: {one_line(error)}"
            ) from error
        if not isinstance(made, Network):
            raise InvalidInputError(
                f"`network` {whose}returned a {type(made).__name__} for {', '.join(names)}; it "
                "must return a jointrain.networks.Network such as HardSharing(trunk, heads)"
            )
        for name in names:
            if name not in made.task_names:
                raise InvalidInputError(
                    f"the network that `network` {whose}made for {', '.join(names)} has no head of "
                    f"task {name!r}, only of {', '.join(made.task_names)}"
                )
        return made

    def check(self, recipes: Sequence[Recipe], baselines: Sequence[Baseline]) -> None:
        """Refuse recipes that can't be run, and a factory whose networks share state.

        Raises:
            InvalidInputError: One is such, or there is a baseline: these are for tables.
        """
        if baselines:
            raise InvalidInputError(
                f"baseline {baselines[0].name!r} is for tables; leave `baselines` out, or compare "
                "with a recipe that has a small network of its own: Recipe(network=...)"
            )
        names = [task.name for task in self.tasks]
        for recipe in recipes:
            _check_fields(recipe)
            recipe.check_tasks(names)
        for recipe in recipes:
            own = callable(recipe.network)
            factory = recipe.network if own else self.network
            if factory not in self._fresh:
                # one that raises is marked as failed where it is run; the others go on
                with suppress(_ForeignError) if own else nullcontext():
                    self._check_fresh(recipe)
                self._fresh.append(factory)

    def _check_fresh(self, recipe: Recipe) -> None:
        """Refuse a factory that returns a module, or a part of one, a second time."""
        groups = [self.tasks, self.tasks, *((task,) for task in self.tasks if len(self.tasks) > 1)]
        seen: dict[int, str] = {}
        kept = []
        for group in groups:
            with random_state_kept():
                torch.manual_seed(0)
                network = self.make_network(recipe, group)
            kept.append(network)  # no other gets their numbers
            tensors = dict(network.named_parameters()) | dict(network.named_buffers())
            for name, tensor in tensors.items():
                if tensor.numel() and tensor.data_ptr() in seen:
                    raise InvalidInputError(
                        f"`network` returned a part that it had returned before ({name}); make "
                        "every module inside of it, so that runs share no state"
                    )
            seen |= {t.data_ptr(): name for name, t in tensors.items() if t.numel()}

    def runs(
        self, fold: Fold, recipe: Recipe, make_trainer: Callable[..., Trainer] = Trainer
    ) -> list[Run]:
        """Return the runs of a recipe on a fold, ready to be fitted."""
        made = ModuleFold(self, fold).runs(recipe, make_trainer)
        return [run for of_member in made for run in of_member]

    def fit(self, recipe: Recipe, *, seed: int = 0) -> NetworkModel:
        """Train a recipe on all rows that are not for testing, a part of them for early stopping.

        Test rows of `Holdout` and of one `Given` split have no part in it. Of `Folds` there are no
        rows that are only tested, and of several given splits those of `data` are all trained on.

        Args:
            recipe: What to train.
            seed: Seed of all random choices; default 0.

        Raises:
            InvalidInputError: The recipe can't be run here, or several splits were given as data
                sets of their own, so that it is not known which are to be trained on.
        """
        self.check([recipe], ())
        fold = Fold(0, seed, self._rows_to_keep(seed), np.arange(0))
        made = ModuleFold(self, fold)
        members = fit_recipe(recipe, made)
        parts = tuple(part for of_member in members for part in of_member)
        own = not isinstance(recipe.network, (str, CodeReference))
        factory: Any = recipe.network if own else self.network
        return NetworkModel(self.tasks, parts, recipe.auxiliary, factory)

    def _rows_to_keep(self, seed: int) -> np.ndarray:
        if self.fixed_test:
            return self.folds_of(seed)[0].train
        if self.data is None:
            raise InvalidInputError(
                "several splits of data sets of their own don't say which rows to train the model "
                "to keep on; give one split, or `data`"
            )
        return self._used(np.arange(self._layout.parts[0].count))

    def jobs(
        self,
        folds: Sequence[Fold],
        recipes: Sequence[Recipe],
        baselines: Sequence[Baseline],
        reference: Recipe,
        *,
        apart: bool = False,
    ) -> list[ModuleJob]:
        """Return the parts of a study; what can be stacked is trained as a population."""
        del baselines, reference
        names = [task.name for task in self.tasks]
        stacked = [recipe for recipe in recipes if folds and self._stackable(recipe, folds[0])]
        single = [recipe for recipe in recipes if recipe not in stacked]
        runs = sum(len(recipe.groups(names)) for recipe in stacked)
        parts = job_parts(folds, stacked, single, (), runs, apart=apart)
        return [
            ModuleJob(self, part.folds, part.stacked, part.single, self._digest) for part in parts
        ]

    def _stackable(self, recipe: Recipe, fold: Fold) -> bool:
        """Return whether all runs of a recipe can be part of a population."""
        if not isinstance(self.data, TensorData) or not isinstance(self.data.inputs, torch.Tensor):
            return False
        # rules that need other runs first come to weights that are numbers
        plain = replace(recipe, weights="equal")
        try:
            return all(why_not_stacked(run) is None for run in self.runs(fold, plain))
        except (Exception, SystemExit):  # what fails says so where it is run
            return False

    def with_folds(self, folds: int) -> Experiment:
        """Return the experiment with as many folds.

        Raises:
            InvalidInputError: The splits are not `Folds`.
        """
        if folds == self.folds:
            return self
        if not isinstance(self.splits, Folds):
            return super().with_folds(folds)
        return replace(self, splits=self.splits.with_count(folds))

    def sample(self, rows: int, seed: int) -> Experiment:
        """Return the experiment on about so many of its training rows; itself if it has no more."""
        if rows >= self.row_count:
            return self
        return replace(self, sampled=(rows, seed))


def _check_device(device: str | torch.device) -> None:
    """Refuse what is no device; whether there is one is found where it is used."""
    try:
        torch.device("cpu" if device == "auto" else device)
    except (RuntimeError, TypeError):
        raise InvalidInputError(f"`device` must be auto, cpu or cuda, got {device!r}") from None


class _ForeignError(InvalidInputError):
    """A factory of the user's raised an error."""


def _check_fields(recipe: Recipe) -> None:
    plain = {one.name: one for one in fields(Recipe)}
    for name in TABLES_ALONE:
        if getattr(recipe, name) != plain[name].default:
            raise InvalidInputError(
                f"recipe {recipe.name!r} sets `{name}`, which is for tables; the network is what "
                "the experiment's or the recipe's `network` makes, and rows for early stopping are "
                "what its splits say"
            )
    if isinstance(recipe.network, str) and recipe.network != plain["network"].default:
        raise InvalidInputError(
            f"recipe {recipe.name!r} names network {recipe.network!r}, which is for tables; give a "
            "function of tasks that makes one"
        )
    if isinstance(recipe.network, CodeReference):
        raise InvalidInputError(
            f"the network {recipe.network.text} of recipe {recipe.name!r} is only described, not "
            "at hand; give it in its place"
        )
