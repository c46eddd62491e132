"""Weigh: task weights by cross-validation on inner folds, against cheap rules."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Unpack

import numpy as np

from jointrain.data import SupervisedTable
from jointrain.experiments import SEPARATE, AnyExperiment, Recipe, size_weights
from jointrain.studies._run_store import quiet_optuna
from jointrain.studies.searches._candidates import Candidates, RecipeSearchResult
from jointrain.studies.searches._evaluator import SearchOptions, apart, open_search

if TYPE_CHECKING:
    import optuna

LARGEST_RATIO = 64.0
"""Largest ratio of the weights of two tasks that the search looks at."""

BATCH = 8
"""Weight vectors that are drawn, and measured, at once."""

EQUAL = "equal"


@dataclass(frozen=True)
class WeighResult(RecipeSearchResult):
    """What a search for task weights found; ``equal`` is the plain choice.

    Args:
        candidates: The figures of all weight vectors, of the rules, and of separate models.
        recipes: Each candidate's recipe, by name.
        pareto: Whether the search went after all tasks' metrics at once.
    """

    pareto: bool = False

    def weights(self, name: str | None = None) -> str | dict[str, float]:
        """Return the weights of a candidate (default: the chosen one), or the rule's name."""
        weights = self.recipe(name).weights
        return weights if isinstance(weights, str) else dict(weights)

    def pareto_front(self) -> list[str]:
        """Return the candidates that no other one equals or beats on every task, best first.

        Each is best for someone: the first has the highest Delta-m. To choose another one, take
        its weights, or say with `importance` how much each task's change counts.
        """
        names = self.candidates.choices
        means = {name: list(self.candidates.mean_changes(name).values()) for name in names}
        points = np.nan_to_num(np.array([means[name] for name in names]), nan=-math.inf)
        front = [
            name
            for name, point in zip(names, points, strict=True)
            if not ((points >= point).all(1) & (points > point).any(1)).any()
        ]
        return sorted(front, key=self.candidates.score, reverse=True)


def search_weights(
    experiment: AnyExperiment | SupervisedTable,
    recipe: Recipe | None = None,
    *,
    trials: int = 24,
    pareto: bool = False,
    **options: Unpack[SearchOptions],
) -> WeighResult:
    """Search for the task weights with the best cross-validated metrics.

    Equal weights, the rules ``size`` (where tasks differ in labels), ``difficulty`` and
    ``gradients``, and as many searched vectors as `trials` says are measured on the same folds and
    seeds with the same training, so that none has more to spend than another. The vectors have mean
    1; a tree-structured Parzen estimator draws their isometric log-ratios, eight vectors at a time.

    Args:
        experiment: A table, or an `Experiment`; all its rows are inner rows, so keep a test set out
            of them.
        recipe: What to train, but for the weights; default `Recipe()`, joint training.
        trials: Number of searched weight vectors; default 24.
        pareto: Look for the front of all tasks' changes, instead of the best Delta-m.
        **options: How it is measured, see `SearchOptions`.

    Raises:
        InvalidInputError: There is one task, the recipe trains tasks separately, or a number lies
            outside its range.

    Source: Xin et al., "Do Current Multi-Task Optimization Methods in Deep Learning Even Help?",
        NeurIPS 2022, and Kurin et al., "In Defense of the Unitary Scalarization for Deep Multi-Task
        Learning", NeurIPS 2022 (tuned static weights match special optimisers); Bergstra et al.,
        "Algorithms for Hyper-Parameter Optimization", NeurIPS 2011 (the estimator), as in Optuna;
        Egozcue et al., "Isometric Logratio Transformations for Compositional Data Analysis",
        Mathematical Geology 35, 2003 (the log-ratios, with Helmert contrasts).
    """
    why_not = "weights change nothing where each task is trained separately"
    recipe, evaluator = open_search(experiment, recipe, why_not, trials=trials, **options)
    experiment = evaluator.given
    names = [task.name for task in experiment.tasks]
    labelled = experiment.label_counts()
    rules = [EQUAL, "size", "difficulty", "gradients"]
    if len(set(labelled.values())) < 2:
        rules.remove("size")
    if not experiment.follows_rules:
        rules = [EQUAL]
    equal, *others = [replace(recipe, name=rule, weights=rule) for rule in rules]
    evaluator.run_first([equal, apart(recipe), *others], EQUAL)
    known = evaluator.candidates(SEPARATE, EQUAL)
    sampler = _Sampler(names, pareto, evaluator.seed)
    sampler.add(dict.fromkeys(names, 1.0), known, EQUAL)
    if "size" in evaluator.names:
        sampler.add(size_weights(labelled), known, "size")
    numbers = itertools.count(1)
    for count in evaluator.batches(trials, BATCH, "searched weightings"):
        batch = [
            replace(recipe, name=f"search {next(numbers)}", weights=tuple(weights.items()))
            for weights in sampler.ask(count)
        ]
        if len(evaluator.run(batch)) == count:
            names_of_batch = [candidate.name for candidate in batch]
            sampler.tell(names_of_batch, evaluator.candidates(SEPARATE, EQUAL))
    choices = [name for name in evaluator.names if name != SEPARATE]
    return WeighResult(evaluator.candidates(SEPARATE, EQUAL, choices), evaluator.recipes, pareto)


class _Sampler:
    """Draws weight vectors and learns from their changes."""

    def __init__(self, tasks: Sequence[str], pareto: bool, seed: int) -> None:
        import optuna
        from scipy.linalg import helmert

        self._tasks = list(tasks)
        self._pareto = pareto
        # contrasts of log-weights: every point is another weighting, and none is favoured
        self._basis = helmert(len(self._tasks))  # [t - 1, t], orthonormal
        bound = math.log(LARGEST_RATIO) / math.sqrt(2)
        self._ranges = {
            f"contrast {index}": optuna.distributions.FloatDistribution(-bound, bound)
            for index in range(len(self._basis))
        }
        with quiet_optuna():
            self._study = optuna.create_study(
                directions=["maximize"] * (len(self._tasks) if pareto else 1),
                sampler=optuna.samplers.TPESampler(
                    seed=seed, n_startup_trials=BATCH, multivariate=True, constant_liar=True
                ),
            )
        self._asked: list[optuna.trial.Trial] = []

    def ask(self, count: int) -> list[dict[str, float]]:
        """Return weight vectors of mean 1, with three digits."""
        self._asked = [self._study.ask(dict(self._ranges)) for _ in range(count)]
        drawn = []
        for trial in self._asked:
            contrasts = np.array([trial.params[name] for name in self._ranges])
            raw = np.exp(contrasts @ self._basis)
            # the digits that are printed are those that are measured
            drawn.append(
                {
                    task: float(f"{value:.3g}")
                    for task, value in zip(self._tasks, raw / raw.mean(), strict=True)
                }
            )
        return drawn

    def tell(self, names: Sequence[str], figures: Candidates) -> None:
        """Learn the changes of the vectors asked for last."""
        import optuna

        for trial, name in zip(self._asked, names, strict=True):
            values = self._objectives(figures, name)
            if values is None:
                self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                self._study.tell(trial, values)

    def add(self, weights: Mapping[str, float], figures: Candidates, name: str) -> None:
        """Learn the changes of weights that were not asked for."""
        import optuna

        values = self._objectives(figures, name)
        if values is None:
            return
        contrasts = self._basis @ np.log([weights[task] for task in self._tasks])
        params = {
            name: float(np.clip(contrast, limits.low, limits.high))
            for (name, limits), contrast in zip(self._ranges.items(), contrasts, strict=True)
        }
        self._study.add_trial(
            optuna.trial.create_trial(
                params=params, distributions=dict(self._ranges), values=values
            )
        )

    def _objectives(self, figures: Candidates, name: str) -> list[float] | None:
        if self._pareto:
            values = list(figures.mean_changes(name).values())
        else:
            values = [figures.score(name)]
        return values if all(math.isfinite(value) for value in values) else None
