"""StudyResult: what a study measured, what it shows, and which model it speaks for."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property

import numpy as np
import polars as pl

from jointrain.baselines import CONSTANT
from jointrain.charts import Chart, InNotebook
from jointrain.data import query_numbers
from jointrain.errors import InvalidInputError, closest
from jointrain.experiments import SEPARATE, Fold, FoldResult, Recipe
from jointrain.studies._cuts import ROWS, Cut
from jointrain.studies._decision import Decision, StudyFigures, decide
from jointrain.studies._measured import Measured
from jointrain.studies._plan import StudyPlan
from jointrain.studies._plot import plot_changes
from jointrain.studies._statistics import (
    DELTA_M,
    MARGIN,
    OF_ALL,
    Comparison,
    Verdict,
    conclude,
    estimate_change,
    mean_and_deviation,
    mean_estimate,
)
from jointrain.tables import (
    Blend,
    TableFoldResult,
    blend_predictions,
    choose_blends,
    held_out_constants,
    left_out_constants,
    measured_rows,
)
from jointrain.task import Task, labels_of, without_labels
from jointrain.training.sampling import Alternating

SHIPPED = "shipped model"
"""Name, in reports, of the model that is put together from the best recipes."""


@dataclass(frozen=True)
class StudyResult(InNotebook):
    """What a study measured, and what it shows.

    Args:
        study: What was run.
        table: A row for each recipe, task, metric, fold and seed, with its value.
        seconds: Time spent on each recipe over all folds and seeds. The time of runs that were
            trained together is shared out among them by the steps that they made.
        folds: The folds of all seeds.
        fold_results: What each run gave, by (recipe or baseline, seed, fold).
        margin: Changes up to this many percent do not matter (of 1 - value for bounded metrics near
            1); a recipe is ``equivalent`` where its whole interval lies within. Default 1.
        notes: What the reader should know, in words: first what a budget cut, then what failed.
        cut_short: Whether the time was over before all of the saved model was trained.
        trained: By target, the weights of what was trained of the saved model, where that is not
            all of it; else None.
        work: What the training of each recipe cost over all folds and seeds, counted and not timed,
            so that what is chosen for being cheaper does not hang on what else the machine does;
            see `jointrain.training.training_work`. NaN of baselines.
        failed: The recipes and baselines that raised an error and were left out, with the error
            in a line.
        validation: As `table`, measured on the validation rows where there is one fixed test set;
            else None.
        cuts: What a budget cut.
        single: Whether the saved model keeps single networks; else ensembles take their place.
    """

    study: StudyPlan
    table: pl.DataFrame
    seconds: dict[str, float]
    folds: Sequence[Fold] = ()
    fold_results: Mapping[tuple[str, int, int], FoldResult] = field(default_factory=dict)
    margin: float = MARGIN
    notes: tuple[str, ...] = ()
    cut_short: bool = False
    trained: Mapping[str, Mapping[str, float]] | None = None
    work: Mapping[str, float] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    validation: pl.DataFrame | None = None
    cuts: tuple[Cut, ...] = ()
    single: bool = False

    @property
    def ships(self) -> bool:
        """Whether predictions were kept, so that a model can be put together from the recipes."""
        return self.study.experiment.ships and bool(self.fold_results)

    @property
    def sampled(self) -> bool:
        """Whether only a sample of the rows was used, since a budget did not pay for all."""
        return any(cut.key == ROWS for cut in self.cuts)

    @cached_property
    def _predictions(self) -> dict[tuple[str, int, int], TableFoldResult]:
        """The results on a table's folds, with their predictions."""
        results = self.fold_results.items()
        return {key: one for key, one in results if isinstance(one, TableFoldResult)}

    @property
    def folds_done(self) -> int:
        """On how many folds of the first seed separate models were measured."""
        first = (pl.col("recipe") == SEPARATE) & (pl.col("seed") == self.study.seed)
        return self.table.filter(first)["fold"].n_unique()

    @property
    def recipe_names(self) -> list[str]:
        """Names of the recipes and, after them, of the baselines."""
        return [recipe.name for recipe in self.study.recipes] + self.study.baseline_names

    def values(self, recipe: str, task: str, metric: str) -> np.ndarray:
        """Return a metric over seeds and folds, [J], NaN where it is undefined or was not run."""
        measured = self._with_shipped if recipe == SHIPPED else self.measured
        return measured.values(recipe, task, metric)

    def runs(self, recipe: str) -> int:
        """Return on how many folds, of all seeds, a recipe or baseline was run."""
        chosen = self.table.filter(pl.col("recipe") == recipe)
        return len(chosen.select("seed", "fold").unique())

    @cached_property
    def measured(self) -> Measured:
        """The figures of recipes and baselines, by which they are compared."""
        return Measured(
            self.study.tasks,
            tuple(self.recipe_names),
            self.table,
            self._overlaps(),
            self.margin,
            self.study.experiment.fixed_test,
        )

    @cached_property
    def chosen_by_validation(self) -> str | None:
        """The recipe with the best Delta-m on the validation rows, for a fixed test set.

        Of equals it is the first. None where recipes are compared on folds: there is no test set
        that must have no say.
        """
        if self.validation is None:
            return None
        measured = replace(self.measured, table=self.validation, overlaps={})
        names = [recipe.name for recipe in self.study.recipes]
        changes = {name: measured.changes(name, SEPARATE) for name in names}
        scores = {
            name: mean_estimate({t: estimate_change(one) for t, one in by_task.items()}).change
            for name, by_task in changes.items()
        }
        finite = {name: score if np.isfinite(score) else -np.inf for name, score in scores.items()}
        return max(names, key=finite.__getitem__)

    def costs(self) -> pl.DataFrame:
        """Return what each recipe takes on a fold: means over folds and seeds.

        Columns: recipe, seconds, and, where they are known, work (see
        `jointrain.training.training_work`), parameters (of all its networks), steps, passes (how
        often a training row goes through a network, on average) and memory (bytes of the GPU at
        most); null where they are not, as those of a baseline.
        """
        rows = []
        for name in self.recipe_names:
            found = [one for (of, _, _), one in self.fold_results.items() if of == name]
            if found:
                taken = [one.cost | {"seconds": one.seconds, "work": one.work} for one in found]
                keys = ("seconds", "work", "parameters", "steps", "passes", "memory")
                means = {
                    key: float(np.mean([one[key] for one in taken]))
                    for key in keys
                    if all(key in one for one in taken)
                }
                known = {key: value for key, value in means.items() if np.isfinite(value)}
                rows.append({"recipe": name, **known})
        return pl.DataFrame(rows, infer_schema_length=None)

    @cached_property
    def _with_shipped(self) -> Measured:
        """As `measured`, with the shipped model."""
        both = pl.concat([self.table, self.shipped_table.select(self.table.columns)])
        return replace(self.measured, names=(*self.measured.names, SHIPPED), table=both)

    def _overlaps(self) -> dict[str, np.ndarray]:
        """As `fold_overlaps`, in the order of the values; empty if the folds are not known."""
        by_number = {(fold.seed, fold.number): fold for fold in self.folds}
        order = self.table.select("seed", "fold").unique().sort("seed", "fold")
        folds = [by_number.get(number) for number in order.iter_rows()]
        known = [fold for fold in folds if fold is not None]
        if len(known) < len(folds):
            return {}
        return self.study.experiment.overlaps(known)

    def judge(
        self, names: Sequence[str], reference: str = SEPARATE
    ) -> tuple[dict[str, dict[str, Comparison]], dict[str, Comparison]]:
        """Return how recipes or baselines compare with another one, all judged together.

        Use it where an answer picks among them: the intervals hold for all of them, and for all
        tasks, at once (see `judge_all`).

        Args:
            names: Recipes or baselines.
            reference: What they are compared with; default separate training.

        Returns:
            By recipe and task; and Delta-m by recipe.

        Raises:
            InvalidInputError: The study holds no such recipe.
        """
        measured = self._with_shipped if SHIPPED in (*names, reference) else self.measured
        return measured.judge(names, reference)

    def overall(
        self, recipe: str, reference: str, tasks: Sequence[str] | None = None, among: int = 1
    ) -> Comparison:
        """Return Delta-m of a recipe or baseline against another one over some targets.

        Args:
            recipe: What is compared; the shipped model may be, too.
            reference: What it is compared with.
            tasks: Names of the targets; default all.
            among: From how many recipes or baselines the answer picks; the interval holds for all
                of them. Against separate training it is never narrower than that of `delta_m`.
        """
        measured = self._with_shipped if SHIPPED in (recipe, reference) else self.measured
        given = measured.changes(recipe, reference)
        each = {task: estimate_change(given[task]) for task in tasks or given}
        names = [one.name for one in self.study.recipes if one.name != SEPARATE]
        family = next((f for f in (names, self.study.baseline_names) if recipe in f), ())
        picked = max(among, len(family) if reference == SEPARATE else 1)
        return conclude(mean_estimate(each), picked * (1 if len(given) < 2 else 2))

    def compare(self, recipe: str, reference: str = SEPARATE) -> dict[str, Comparison]:
        """Return how a recipe or baseline compares with another one, by task.

        Against separate training, these are `comparisons`; against others, the two are judged by
        themselves.

        Raises:
            InvalidInputError: The study holds no such recipe.
        """
        if reference == SEPARATE and recipe in self.comparisons:
            return self.comparisons[recipe]
        return self.judge([recipe], reference)[0][recipe]

    @cached_property
    def _against_separate(self) -> tuple[dict[str, dict[str, Comparison]], dict[str, Comparison]]:
        """Recipes are judged together, for the answer picks among them; so are baselines."""
        recipes = [recipe.name for recipe in self.study.recipes if recipe.name != SEPARATE]
        tasks, overall = self.judge(recipes)
        more_tasks, more_overall = self.judge(self.study.baseline_names)
        return tasks | more_tasks, overall | more_overall

    @property
    def comparisons(self) -> dict[str, dict[str, Comparison]]:
        """How each recipe and baseline compares with separate training, by name and task."""
        return self._against_separate[0]

    @property
    def delta_m(self) -> dict[str, Comparison]:
        """Delta-m of each recipe and baseline against separate training, by name."""
        return self._against_separate[1]

    def to_frame(self) -> pl.DataFrame:
        """Return a row for each recipe, baseline and target, by the metric that decides.

        Columns: recipe, task, metric, mean, deviation (over folds and seeds), and against separate
        training change, low, high, unit and verdict, null for separate training itself. The saved
        model is in it where there is one; `table` has every run.
        """
        compared = dict(self.comparisons)
        if self.ships:
            compared[SHIPPED] = self.shipped_comparisons
        rows: list[dict[str, object]] = []
        for name in [*self.recipe_names, *([SHIPPED] if self.ships else [])]:
            for task in self.study.tasks:
                metric = task.primary_metric.name
                row: dict[str, object] = {"recipe": name, "task": task.name, "metric": metric}
                row |= mean_and_deviation(self.values(name, task.name, metric))
                one = compared.get(name, {}).get(task.name)
                for part in ("change", "low", "high", "unit", "verdict"):
                    row[part] = None if one is None else getattr(one, part)
                rows.append(row)
        kinds = {"change": pl.Float64, "low": pl.Float64, "high": pl.Float64}
        kinds |= {"mean": pl.Float64, "deviation": pl.Float64}
        frame = pl.DataFrame(rows, schema_overrides=kinds, infer_schema_length=None)
        return frame.with_columns(pl.selectors.float().fill_nan(None))

    def _notebook_title(self) -> str:
        chosen = [f"{task} by {name}" for task, name in self.decision.targets.items()]
        return f"Study result: {', '.join(chosen[:8])}"

    def plot(self) -> Chart:
        """Return a chart of the changes against separate training, task by task.

        Raises:
            MissingDependencyError: altair is not installed.
        """
        names = [name for name in self.comparisons if name != CONSTANT]
        by_name = {name: self.compare(name) for name in names}
        overall = {name: self.delta_m[name] for name in names}
        if self.ships:
            by_name[SHIPPED] = self.shipped_comparisons
            overall[SHIPPED] = self.shipped_delta_m
        panels = {OF_ALL: overall}
        for task in self.study.tasks:
            panels[task.name] = {name: found[task.name] for name, found in by_name.items()}
        recipes = [recipe.name for recipe in self.study.recipes]
        return plot_changes(panels, recipes, self.study.baseline_names)

    @cached_property
    def decision(self) -> Decision:
        """What the figures say to do with each target."""
        return decide(figures_of(self))

    def best(self) -> Recipe:
        """Return the recipe that the decision names for most targets.

        Where the decision is a baseline or a constant, it is what would be chosen without them.
        With a fixed test set it is the one that does best on the validation rows.
        """
        name = self.chosen_by_validation or self.decision.network
        return next(one for one in self.study.recipes if one.name == name)

    def recipe(self, name: str) -> Recipe:
        """Return a recipe of the study by its name.

        Raises:
            InvalidInputError: The study holds no such recipe.
        """
        found = {one.name: one for one in self.study.recipes}
        if name not in found:
            raise InvalidInputError(f"there is no recipe {name!r}{closest(name, found)}")
        return found[name]

    def verdict(self, recipe: str = "joint") -> dict[str, Verdict]:
        """Return what the data show of a recipe against separate training.

        Args:
            recipe: A recipe or baseline; default ``joint``.

        Returns:
            ``better``, ``worse``, ``equivalent`` or ``undecided`` for each task, and for
            ``Delta-m``.

        Raises:
            InvalidInputError: The study holds no such recipe.
        """
        tasks = self.compare(recipe)
        found: dict[str, Verdict] = {name: one.verdict for name, one in tasks.items()}
        if recipe in self.delta_m:
            found[DELTA_M] = self.delta_m[recipe].verdict
        return found

    def held_out_predictions(
        self, recipe: str, seeds: Collection[int] | None = None
    ) -> dict[str, np.ndarray]:
        """Return predictions of all rows by networks that were not trained on them.

        The mean over seeds; NaN for rows that were in no test part.

        Args:
            recipe: A recipe or baseline.
            seeds: Of which repetitions; default all.

        Shape:
            returns: by task, [n] or [n, c] as `TableModel.predict`, n rows of the table.

        Raises:
            InvalidInputError: The study holds no such recipe, or is none of a table.
        """
        if recipe not in self.recipe_names:
            raise InvalidInputError(
                f"there is no recipe {recipe!r}{closest(recipe, self.recipe_names)}"
            )
        count = len(self.study.table.frame)
        total: dict[str, np.ndarray] = {}
        seen = np.zeros(count)
        for fold in self.folds:
            result = self._predictions.get((recipe, fold.seed, fold.number))
            if result is None or not (seeds is None or fold.seed in seeds):
                continue
            seen[fold.test] += 1
            for task, values in result.test.items():
                if task not in total:
                    total[task] = np.zeros((count, *values.shape[1:]))
                total[task][fold.test] += values
        with np.errstate(invalid="ignore"):
            return {
                task: values / seen.reshape(-1, *(1,) * (values.ndim - 1))
                for task, values in total.items()
            }

    @property
    def components(self) -> list[str]:
        """What the shipped model may be put together from."""
        recipes = [recipe.name for recipe in self.study.recipes]
        saved = [one.name for one in self.study.baselines if one.saved]
        return recipes if self.study.ship == "networks" else recipes + saved

    @property
    def _families(self) -> dict[str, str]:
        """Which baselines predict much alike."""
        return {one.name: one.family or one.name for one in self.study.baselines}

    @cached_property
    def _by_component(self) -> dict[str, dict[str, np.ndarray]]:
        """Held-out predictions of what the shipped model may be put together from."""
        components = self.components
        return {name: self.held_out_predictions(name, self._common_seeds) for name in components}

    @cached_property
    def _common_seeds(self) -> set[int]:
        """The seeds of all components: the mean of more of them would look better by itself."""
        return set.intersection(
            *({seed for given, seed, _ in self.fold_results if given == name}
              for name in self.components)
        )  # fmt: skip

    @cached_property
    def _constants(self) -> dict[str, np.ndarray]:
        """What a constant predicts of the held-out rows, by task."""
        folds = [
            fold
            for fold in self.folds
            if fold.seed in self._common_seeds
            and (SEPARATE, fold.seed, fold.number) in self.fold_results
        ]
        table = self.study.table
        return held_out_constants(table.tasks, table.labels(), folds, self._fit_weights)

    @cached_property
    def _fit_weights(self) -> np.ndarray | None:
        """What the rows of the table are fitted with, [n, t]; None if all are equal."""
        return self.study.table.fit_weights()

    def held_out_blends(
        self, weights: Mapping[str, Mapping[str, float]] | None = None
    ) -> dict[str, np.ndarray]:
        """Return predictions of all rows by the blends, whose networks were not trained on them.

        Args:
            weights: By task and component; default those of `blends`.

        Shape:
            returns: as `held_out_predictions`.
        """
        chosen = weights or {task: blend.weights for task, blend in self.blends.items()}
        return {
            task: blend_predictions(
                {
                    CONSTANT: self._constants[task],
                    **{name: values[task] for name, values in self._by_component.items()},
                },
                of_task,
            )
            for task, of_task in chosen.items()
        }

    def with_weights(
        self, weights: Mapping[str, Mapping[str, float]], *, cut_short: bool = True
    ) -> StudyResult:
        """Return the result for a saved model of which only these components were trained.

        Args:
            weights: Of these components, by target.
            cut_short: Whether for want of time.
        """
        return replace(self, cut_short=cut_short, trained=weights)

    @cached_property
    def blends(self) -> dict[str, Blend]:
        """Which components predict each task of the shipped model, by all held-out rows.

        Where not all of them were trained, with the weights of those that were.
        """
        if self.trained is None:
            return self._chosen_blends
        return {
            task: replace(blend, weights=dict(self.trained[task]))
            for task, blend in self._chosen_blends.items()
        }

    @cached_property
    def _chosen_blends(self) -> dict[str, Blend]:
        tasks, known = self.study.table.tasks, self.study.table.labels()
        predictions = {
            task.name: {name: values[task.name] for name, values in self._by_component.items()}
            for task in tasks
        }
        hidden = np.zeros((len(known), len(tasks)), dtype=bool)
        for index, task in enumerate(tasks):
            for given in predictions[task.name].values():
                hidden[:, index] |= np.isnan(given.reshape(len(given), -1)).any(1)
        known = without_labels(known, tasks, hidden)
        return choose_blends(
            tasks,
            predictions,
            known,
            SEPARATE,
            self._constants,
            self._fit_weights,
            self._families,
        )

    def best_component(self, task: Task, names: Sequence[str]) -> str:
        """Return the component with the lowest mean loss of held-out rows, or the constant.

        Args:
            task: Of the study.
            names: Of `components`.
        """
        table = self.study.table
        index = table.tasks.index(task)
        labels = labels_of(table.labels(), table.tasks)[index]
        predictions = {CONSTANT: self._constants[task.name]} | {
            name: self._by_component[name][task.name] for name in names
        }
        rows = task.in_table.known(labels)
        for values in predictions.values():
            rows = rows & ~np.isnan(values.reshape(len(values), -1)).any(1)
        if not rows.any():
            return CONSTANT
        weights = None if self._fit_weights is None else self._fit_weights[rows, index]
        losses = {
            name: np.average(task.in_table.row_losses(values[rows], labels[rows]), weights=weights)
            for name, values in predictions.items()
        }
        return min(losses, key=lambda name: losses[name])

    @cached_property
    def shipped_table(self) -> pl.DataFrame:
        """The metrics of the shipped model, as `table`: nested cross-validation.

        On each outer fold, the components and their weights are chosen by rows of the training part
        that each network was not trained on (the inner folds), and scored on the test rows. Where
        only some components of the saved model were trained, the others are left out on the folds,
        too; a fold that chose none of them has the weights that are saved.
        """
        table = self.study.table
        tasks, labels = table.tasks, table.labels()
        queries = query_numbers(table.frame, tasks)
        rows = []
        for fold in self.folds:
            if (SEPARATE, fold.seed, fold.number) in self.fold_results:
                predictions = self._shipped_predictions(fold)
                if predictions is None:
                    continue
                weights = self.study.table.weights
                rows += measured_rows(SHIPPED, tasks, predictions, labels, fold, queries, weights)
        return pl.DataFrame(rows)

    def _shipped_predictions(self, fold: Fold) -> dict[str, np.ndarray] | None:
        """Return the predictions of a fold's test rows by blends chosen on its inner rows.

        None where what is saved was not run on the fold.
        """
        keys = {name: (name, fold.seed, fold.number) for name in self.components}
        known = self._predictions
        results = {name: known[key] for name, key in keys.items() if key in known}
        saved = {name for weights in (self.trained or {}).values() for name in weights}
        if not saved <= {CONSTANT, *results}:
            return None
        chosen = self._weights_on(fold, results)
        tasks = self.study.table.tasks
        labels = self.study.table.labels()
        constants = held_out_constants(tasks, labels, [fold], self._fit_weights)
        return {
            task.name: blend_predictions(
                {
                    CONSTANT: constants[task.name][fold.test],
                    **{name: result.test[task.name] for name, result in results.items()},
                },
                chosen[task.name],
            )
            for task in tasks
        }

    def _weights_on(
        self, fold: Fold, results: Mapping[str, TableFoldResult]
    ) -> dict[str, Mapping[str, float]]:
        """Return the weights by target that a fold's inner rows choose, of what was trained."""
        tasks, labels = self.study.table.tasks, self.study.table.labels()
        inner = _common_rows(list(results.values()))
        if not len(inner):
            only = {task.name: {SEPARATE: 1.0} for task in tasks}
            return dict(self.trained or only)
        seen = {
            task.name: {
                name: result.inner[task.name][np.searchsorted(result.inner_rows, inner)]
                for name, result in results.items()
            }
            for task in tasks
        }
        weights = self._fit_weights
        left_out = left_out_constants(
            tasks,
            labels[fold.train],
            np.searchsorted(fold.train, inner),
            None if weights is None else weights[fold.train],
        )
        of_inner = None if weights is None else weights[inner]
        blends = choose_blends(
            tasks, seen, labels[inner], SEPARATE, left_out, of_inner, self._families
        )
        if self.trained is None:
            return {name: blend.weights for name, blend in blends.items()}
        return {
            name: _of_trained(blend.weights, self.trained[name]) for name, blend in blends.items()
        }

    @cached_property
    def _shipped_against_separate(self) -> tuple[dict[str, Comparison], Comparison]:
        tasks, overall = self.judge([SHIPPED])
        return tasks[SHIPPED], overall[SHIPPED]

    @property
    def shipped_delta_m(self) -> Comparison:
        """Delta-m of the shipped model, from nested cross-validation."""
        return self._shipped_against_separate[1]

    @property
    def shipped_comparisons(self) -> dict[str, Comparison]:
        """How the shipped model compares with separate training, by task; nested."""
        return self._shipped_against_separate[0]


def _of_trained(chosen: Mapping[str, float], trained: Mapping[str, float]) -> Mapping[str, float]:
    """Return the weights that a fold chose for what was trained, of sum 1; else those it has."""
    there = {name: weight for name, weight in chosen.items() if name in trained}
    total = sum(there.values())
    return {name: weight / total for name, weight in there.items()} or trained


def figures_of(result: StudyResult) -> StudyFigures:
    """Return what a decision is taken from, of a study."""
    study = result.study
    models = [name for name in result.recipe_names if name != CONSTANT]

    @cache
    def against_constant() -> dict[str, dict[str, Comparison]]:
        # whether any of them is better is one question, so they are judged together
        return result.judge(models, CONSTANT)[0]

    def by_task(model: str, reference: str) -> Mapping[str, Comparison]:
        if reference == CONSTANT:
            return against_constant()[model]
        return result.compare(model, reference)

    together, networks = together_of(result), [recipe.name for recipe in study.recipes]
    fixed = study.experiment.fixed_test
    if fixed:
        # the test set has no say in which recipe is looked at
        kept = (SEPARATE, together, result.chosen_by_validation)
        networks = [name for name in networks if name in kept]
    return StudyFigures(
        tuple(task.name for task in study.tasks),
        tuple(networks),
        together,
        tuple(name for name in study.baseline_names if name != CONSTANT),
        CONSTANT in study.baseline_names,
        by_task,
        result.overall,
        {name: spent / max(result.runs(name), 1) for name, spent in result.work.items()},
        study.seeds if fixed else result.folds_done,
        result.measured.lacks,
    )


def together_of(result: StudyResult) -> str | None:
    """Return the recipe that stands for training together: ``joint``, else the first joint one.

    Where there is none, it is the first that alternates; None if targets are only trained apart.
    """
    others = [one for one in result.study.recipes if not one.trains_apart]
    joint = [one for one in others if not isinstance(one.schedule, Alternating)]
    names = [one.name for one in joint or others]
    return "joint" if "joint" in names else names[0] if names else None


def _common_rows(results: Sequence[TableFoldResult]) -> np.ndarray:
    rows = results[0].inner_rows
    for result in results[1:]:
        rows = np.intersect1d(rows, result.inner_rows)
    return rows
