"""Study: recipes and baselines on the same folds and seeds, and what they show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, Literal

from jointrain.baselines import AnyBaseline, as_baseline
from jointrain.data import SupervisedTable
from jointrain.experiments import AnyExperiment
from jointrain.studies._measurements import Measurements, OnInterim, open_store
from jointrain.studies._plan import StudyPlan, as_experiment
from jointrain.studies._statistics import MARGIN
from jointrain.studies._study_result import StudyResult


class Study(StudyPlan):
    """Recipes and baselines to be run on the same folds and seeds.

    Args:
        experiment: What is to be learned: a table, an `Experiment` of one's own modules and data,
            or one of one's own loop.
        recipes: What to run, `Recipe` values (for a loop of one's own: whatever it understands, if
            it has a name); one must be named ``separate``. Default: `default_recipes()`.
        baselines: What to fit beside them, for a table, which alone can have them: names of
            `BASELINES` or of installed packages, ``module:name``, baselines of one's own, and
            estimators with the interface of scikit-learn, each as an object or as what makes it
            (see `as_baseline`). One that raises an error in a run is left out, with its error in
            `StudyResult.failed`. Default `FIRST_BASELINES`.
        folds: Number of outer folds of a table, at least 2; default 5. Other experiments say
            themselves how they are split.
        seeds: Number of repetitions, each with folds, initial weights and batches of its own;
            default 3. Splits by time are the same in all of them.
        seed: The first repetition's seed; default 0.
        ship: What the shipped model of a table may hold: ``any`` (default; recipes and baselines)
            or ``networks``.
        margin: Changes up to this many percent do not matter, see `StudyResult`; default 1.

    Raises:
        InvalidInputError: A value lies outside its range, names are not unique, or the experiment
            can't run such recipes; that it can't be split into so many folds is said by `run`.
    """

    def __init__(
        self,
        experiment: AnyExperiment | SupervisedTable,
        recipes: Sequence[Any] = (),
        baselines: Sequence[AnyBaseline] | None = None,
        folds: int | None = None,
        seeds: int = 3,
        seed: int = 0,
        ship: Literal["any", "networks"] = "any",
        margin: float = MARGIN,
    ) -> None:
        made = as_experiment(experiment, folds)
        first = made.first_baselines if baselines is None else baselines
        super().__init__(
            made,
            [made.as_recipe(one) for one in recipes],
            [as_baseline(one) for one in first],
            seeds,
            seed,
            ship,
            margin,
        )

    def run(
        self,
        *,
        workers: int | None = None,
        store: str | Path | None = None,
        executor: Executor | None = None,
        progress: Callable[[int, int], None] | None = None,
        on_interim: OnInterim | None = None,
    ) -> StudyResult:
        """Run everything; the result is the same whatever the number of workers.

        Args:
            workers: Processes to run folds in; default one for each core. With an executor: jobs
                that it is given at a time, default all of them.
            store: A folder, or the URL of a database such as ``postgresql://user@host/name``, that
                keeps finished runs. A study that was stopped goes on from there, and several
                machines that name the same place share the work; each gets the whole result. Runs
                are known by their settings and data; of a torch ``Dataset``, by its code and what
                it holds, not by the files that it reads: where these change, name another store.
            executor: Runs the jobs in place of processes of this machine: any of
                `concurrent.futures` whose processes are not forked, or `DaskExecutor`,
                `RayExecutor`, `SlurmExecutor`; default none. Each job has one thread, so that the
                results are the same bits.
            progress: Called at the beginning, and then with how often a recipe or baseline was run
                on a fold so far, and in all; runs that are trained together are counted when all
                are done.
            on_interim: Called now and then with what is known so far.

        Raises:
            InvalidInputError: The rows can't be split into so many folds, or the store can't be
                reached or holds another study.
            WorkerDiedError: Processes died again and again, most often for want of memory, or the
                executor takes no more jobs.
            StudyInterrupted: Ctrl-C was pressed when some folds were finished; it holds them.
        """
        measurements = Measurements(
            self,
            workers=workers,
            store=open_store(self, store),
            executor=executor,
            progress=progress,
            on_interim=on_interim,
        )
        measurements.run(self.recipes, self.baselines, range(self.seed, self.seed + self.seeds))
        return measurements.result()
