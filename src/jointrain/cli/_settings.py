"""The options of the commands, each said once: flag, key of the config file, and check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from jointrain.cli._executors import EXECUTOR_HELP
from jointrain.cli._option_fields import said, with_options
from jointrain.cli._reading import reading_options
from jointrain.cli._value_forms import (
    Duration,
    Groups,
    Interval,
    Names,
    Numbers,
    Options,
    OptionsWithLists,
    Pairs,
    RuleOrNumbers,
    TableName,
    seconds_of,
)
from jointrain.errors import InvalidInputError
from jointrain.options import RECIPE_OPTIMIZER, OptimizerOptions, RecipeOptions
from jointrain.system.database_address import DatabaseAddress, without_password
from jointrain.system.own_code import imported

if TYPE_CHECKING:
    from jointrain.balancing import Balancer
    from jointrain.baselines import Baseline
    from jointrain.cli._logs import Logs
    from jointrain.data import ReadingOptions
    from jointrain.experiments import Recipe


def _balancer(
    name: str | None, options: Mapping[str, Any]
) -> tuple[Balancer | str | None, Mapping[str, Any]]:
    """Return what MODULE:CLASS makes, or the name and the options as they are."""
    if name is None or ":" not in name:
        return name, options
    from jointrain.balancing import as_balancer_class

    kind = as_balancer_class(name, imported(name))
    try:
        return kind(**options), {}
    except TypeError as error:
        raise InvalidInputError(f"balancer {name!r} can't be made: {error}") from None


def _groups_of(options: Mapping[str, Any]) -> tuple[tuple[str, tuple[tuple[str, Any], ...]], ...]:
    """Return options by part, from those that name both."""
    parts: dict[str, dict[str, Any]] = {}
    for name, value in options.items():
        part, dot, option = name.rpartition(".")
        if not dot or not part or not option:
            raise InvalidInputError(
                f"--parameter-group must be PART.OPTION=VALUE, such as trunk.lr=0.001, got {name!r}"
            )
        parts.setdefault(part, {})[option] = value
    return tuple((part, tuple(of_part.items())) for part, of_part in parts.items())


class LogSettings(BaseModel):
    """Where else the figures of runs go."""

    log: Literal["tensorboard", "mlflow", "wandb"] | None = Field(
        None,
        description="Log losses, weights and metrics there; needs the extra of that name.",
    )
    log_to: str | None = Field(
        None,
        description="Folder of the log, or URI of MLflow's store; default runs for TensorBoard, "
        "else as it is set up.",
    )

    def opened_logs(self, name: str, *, resumed: bool = False) -> Logs | None:
        """Return what makes loggers; None if none are wanted.

        Args:
            name: What all runs of the command are called.
            resumed: Whether the command goes on with runs that were logged before.

        Raises:
            MissingDependencyError: The package that is logged to is not installed.
            InvalidInputError: There is a place without a log, or it can't be written.
        """
        if self.log is None:
            if self.log_to is not None:
                raise InvalidInputError(
                    f"--log-to {self.log_to} says where a log goes, and there is none; give --log"
                )
            return None
        from jointrain.cli._logs import Logs

        return Logs(self.log, self.log_to, name, resumed=resumed)


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    seed: int = Field(0, ge=0, le=2**63 - 1, description="Seed of all random choices.")
    json_output: bool = Field(
        False, alias="json", description="Print the result as JSON, for machines."
    )


@with_options(OptimizerOptions, defaults=vars(RECIPE_OPTIMIZER))
@with_options(RecipeOptions)
class TableSettings(_Settings):
    """Which columns are what, how to train, and where to put the result."""

    table: TableName
    targets: Names = Field(min_length=1, description="Target columns, separated by commas.")
    task: Pairs = Field(
        {},
        description="Kind of a target: NAME=regression, =mean-variance, =quantiles:0.1:0.5:0.9, "
        "=count, =negative-binomial, =binary, =multiclass or =ordinal (of text: "
        "=ordinal:low:medium:high), =censored (cells such as >10); of several columns "
        "=survival:TIME:EVENT, =multilabel:flu:measles, =proportions:sand:silt:clay. Repeatable.",
    )
    given: Pairs = Field(
        {},
        description="A target that needs another one: purchase=click, or corrected for selection, "
        "purchase=click:inverse-propensity or purchase=click:doubly-robust. Repeatable.",
    )
    metric: Pairs = Field(
        {},
        description="What verdicts on a target are about: NAME=MAE, =MAPE, =pinball-0.9, "
        "=Spearman, =C-index; of classes =balanced-accuracy, =average-precision, =Brier, =F2; with "
        "--query =NDCG@10, =recall@10, =group-AUC. Repeatable.",
    )
    query: str | None = Field(
        None, description="Rows with the same value are ranked among each other by such a --metric."
    )
    ignore: Names = Field([], description="Columns that are no features. Repeatable.")
    id: str | None = Field(None, description="Column that names the rows; no feature.")
    group: str | None = Field(
        None, description="Rows with the same value stay on one side of a split."
    )
    time: str | None = Field(
        None,
        description="Splits train on the past of this column; month, weekday and hour of a date "
        "stay features unless it is ignored, too.",
    )
    row_weight: str | None = Field(
        None, description="Column that says how much each row counts; no feature; 0 leaves it out."
    )
    class_weights: RuleOrNumbers | None = Field(
        None,
        description="What classes count in training: balanced, or a=1,b=5, or TARGET:a=1; metrics "
        "are without.",
    )
    rare: Literal["keep", "merge", "drop"] = Field(
        "keep",
        description="Classes with fewer rows than folds: keep, merge into 'other', or drop labels.",
    )
    duplicates: Literal["together", "apart", "drop"] | None = Field(
        None,
        description="Rows that repeat each other: on one side of a split, or not, or left out; "
        "default together where chance does not explain them.",
    )
    column: Pairs = Field(
        {}, description="What a column holds: NAME=number, =text, =date, =time, =boolean. "
        "Repeatable.",
    )  # fmt: skip
    category: Names = Field(
        [],
        description="Columns whose values are names, also where they are numbers: above 100 of "
        "them, a learned vector for each. Repeatable.",
    )
    text: Names = Field([], description="Columns of language, whose characters count. Repeatable.")
    bag: Names = Field(
        [],
        description="Columns with several values in a cell, as in a|b|c; NAME=; for another "
        "separator, here a semicolon. Repeatable.",
    )
    missing: str | list[str] | None = Field(
        None, description="Cells that mean a missing value, separated by commas; '' for none."
    )
    decimal: Literal[".", ","] | None = Field(
        None, description="Decimal mark of numbers, a point or a comma."
    )
    thousands: str | None = Field(None, description="Mark between thousands; '' for none.")
    date_format: str | dict[str, str] | None = Field(
        None, description="How dates are written, such as %d/%m/%Y, or NAME=%d/%m/%Y."
    )
    time_zone: str | None = Field(
        None, description="Zone that hours are counted in, such as Europe/Berlin."
    )
    encoding: str | None = Field(
        None, description="Encoding of a text file, such as cp1252 or utf-16; default UTF-8."
    )
    separator: str | None = Field(
        None, description="What stands between the fields of a text file, or tab; default found."
    )
    comment: str | None = Field(
        None, description="What lines that are skipped begin with; default # at the top; '' none."
    )
    weights: RuleOrNumbers = Field(
        "equal",
        description="Loss weights: equal, size, difficulty, gradients, searched, or a=1,b=0.3.",
    )
    balancer: str | None = Field(
        None,
        description="Balancing method in place of the sum; see: jointrain balancers; or "
        "MODULE:CLASS of your own.",
    )
    balancer_option: OptionsWithLists = Field(
        {},
        description="Hyper-parameter of the balancer: NAME=VALUE; what it has for each target: "
        "preference=2,1 in their order, or preference=price:2,demand:1. Repeatable.",
    )
    order: Literal[
        "random", "round-robin", "proportional", "temperature", "annealed", "progress"
    ] = Field("random", description="Order of tasks in alternating training.")
    probabilities: Numbers | None = Field(
        None, description="With order random: a=0.7,b=0.3; default all equal."
    )
    temperature: float | None = Field(
        None, gt=0, description="With order temperature: 1 is proportional, large is uniform."
    )
    block: int = Field(
        1, ge=1, le=10**6, description="Steps on a task before the next, when alternating."
    )
    network: str = Field(
        "hard",
        description="How layers are shared; see: jointrain networks; or MODULE:NAME of your own.",
    )
    network_option: Options = Field(
        {}, description="Setting of the network: NAME=VALUE. Repeatable."
    )
    lr_scheduler: str | None = Field(
        None,
        description="Scheduler of torch.optim.lr_scheduler, such as StepLR, in place of warm-up "
        "and decay.",
    )
    lr_scheduler_option: OptionsWithLists = Field(
        {},
        description="What it takes: NAME=VALUE, such as step_size=5 or milestones=10,20. "
        "Repeatable.",
    )
    parameter_group: Options = Field(
        {},
        description="Option of the optimiser for a part of the network: PART.OPTION=VALUE, such as "
        "trunk.lr=0.001 or shared.weight_decay=0. Repeatable.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where to train.")
    out: Path | None = Field(None, description="Folder to write; default TABLE-answer.")
    force: bool = Field(False, description="Replace the folder if jointrain wrote it.")

    @property
    def table_name(self) -> str:
        """What titles call the table."""
        if self.table == "-":
            return "standard input"
        if "://" in self.table:
            address = DatabaseAddress.of(self.table)
            return address.table or PurePosixPath(without_password(address.place)).name
        return Path(self.table).name

    @property
    def table_may_exist(self) -> bool:
        """Whether there is a chance that the table can be read."""
        return (
            self.table == "-"
            or "://" in self.table
            or ".xlsx#" in self.table
            or Path(self.table).exists()
        )

    @property
    def reading(self) -> ReadingOptions:
        """How the table is to be read."""
        return reading_options(
            encoding=self.encoding,
            separator=self.separator,
            comment=self.comment,
            missing=self.missing,
            decimal=self.decimal,
            thousands=self.thousands,
            date_format=self.date_format,
            time_zone=self.time_zone,
            columns=self.column,
        )

    @property
    def said_columns(self) -> dict[str, str]:
        """What columns are said to be, by name."""
        bags = [one.partition("=") for one in self.bag]
        said = [(name, "category") for name in self.category]
        said += [(name, "text") for name in self.text]
        said += [(name, f"bag:{mark}" if mark else "bag") for name, _, mark in bags]
        names = [name for name, _ in said]
        for name in names:
            if names.count(name) > 1:
                raise InvalidInputError(
                    f"column {name!r} is said to be two things by --category, --text or --bag; "
                    "name it once"
                )
        return dict(said)

    def recipe(self, schedule: str, name: str | None = None) -> Recipe:
        """Return the recipe that the settings describe."""
        from jointrain.experiments import Recipe
        from jointrain.training import Alternating, AnySchedule, Joint, OptimizerSettings, Separate
        from jointrain.training.merging import merges_by_name

        order: Any = self.order.replace("-", "_")
        chances = None if self.probabilities is None else tuple(self.probabilities.items())
        schedules: dict[str, AnySchedule] = {
            **merges_by_name(),
            "joint": Joint(),
            "separate": Separate(),
            "alternating": Alternating(order, chances, self.block, self.temperature),
        }
        balancer, options = _balancer(self.balancer, self.balancer_option)
        recipe = Recipe(
            name=name or schedule,
            schedule=schedules[schedule],
            weights=self.weights if isinstance(self.weights, str) else tuple(self.weights.items()),
            balancer=balancer,
            balancer_options=tuple(options.items()),
            network=imported(self.network) if ":" in self.network else self.network,
            network_options=tuple(self.network_option.items()),
            optimizer=OptimizerSettings(**said(self, OptimizerOptions)),
            lr_scheduler=self.lr_scheduler,
            lr_scheduler_options=tuple(self.lr_scheduler_option.items()),
            parameter_groups=_groups_of(self.parameter_group),
            **said(self, RecipeOptions),
        )
        recipe.check()
        return recipe


class MeasuredSettings(TableSettings):
    """Settings of commands that measure recipes on folds."""

    margin: float = Field(
        1.0,
        ge=0,
        allow_inf_nan=False,
        description="Changes up to this many percent do not matter (of 1 - value for metrics "
        "bounded by 1, where that is smaller); a whole interval within them is 'equivalent'.",
    )
    workers: int | None = Field(
        None, ge=1, le=1024, description="Processes; default one for each core."
    )
    executor: str | None = Field(None, description=EXECUTOR_HELP)


class CompareSettings(MeasuredSettings, LogSettings):
    """Settings of ``jointrain compare``."""

    recipes: Names = Field(
        [],
        description="What to compare: separate, joint, alternating, alternating-ORDER, "
        "weights-RULE, balancer-NAME, network-NAME, merge-METHOD; default the first three, and "
        "more of them within a budget.",
    )
    baselines: Names = Field(
        [],
        description="Baselines, or MODULE:NAME of your own or of any estimator with scikit-learn's "
        "interface; see, also for the default: jointrain baselines; more of them within a budget.",
    )
    budget: Duration | None = Field(
        None, description="Time for everything, such as 60s or 2m; it decides how much is run."
    )
    ship: Literal["any", "networks"] = Field(
        "any", description="What the saved model may hold: any recipe or baseline, or networks."
    )
    folds: int = Field(5, ge=2, le=1000, description="Number of outer folds.")
    seeds: int = Field(3, ge=1, le=1000, description="Number of repetitions of the folds.")
    study: str | None = Field(
        None,
        description="Folder or database URL that keeps finished runs: a stopped study goes on "
        "there, and machines that name the same share the work.",
    )
    equal: Literal["steps", "passes", "seconds"] | None = Field(
        None,
        description="Let each recipe train for as many of these as separate models take; default: "
        "the same number of epochs.",
    )

    def chosen_recipes(self) -> list[Recipe]:
        """Return the recipes to compare; separate models are always among them."""
        from jointrain.experiments import SEPARATE, default_recipes, named_recipes

        base = self.recipe("alternating")
        if not self.recipes:
            return default_recipes(base)
        names = self.recipes if SEPARATE in self.recipes else [SEPARATE, *self.recipes]
        return named_recipes(names, base)

    def chosen_baselines(self) -> list[Baseline] | None:
        """Return the baselines to fit beside them, None for the experiment's first ones.

        The constant is always among them.
        """
        from jointrain.baselines import BASELINES, CONSTANT, as_baseline

        chosen = [as_baseline(name) for name in self.baselines]
        if not chosen or any(one.name == CONSTANT for one in chosen):
            return chosen or None
        return [BASELINES[CONSTANT], *chosen]

    @property
    def single(self) -> bool:
        """Whether single networks were asked for, and are not only where a study begins."""
        return "ensemble" in self.model_fields_set and self.recipe("joint").ensemble == 1

    @property
    def budget_seconds(self) -> float | None:
        """The budget in seconds."""
        return None if self.budget is None else seconds_of(self.budget)


@with_options(RecipeOptions, defaults={"ensemble": None})
class FitSettings(TableSettings, LogSettings):
    """Settings of ``jointrain fit``."""

    schedule: Literal[
        "joint", "alternating", "separate", "merge-mean", "merge-arithmetic", "merge-ties",
        "merge-dare", "phases",
    ] = Field(
        "joint", description="How the tasks take turns; phases are written in the config file."
    )  # fmt: skip
    phases: list[dict[str, Any]] = Field(
        [], description="With schedule phases.", json_schema_extra={"in_file_only": True}
    )
    auxiliary: Names = Field(
        [], description="Targets that only help to train the others. Repeatable."
    )
    groups: Groups | None = Field(
        None, description="Targets that share a network: 'a,b;c'; default all of them."
    )

    checkpoints: Path | None = Field(
        None, description="Folder for checkpoints, from which --resume goes on; default none."
    )
    checkpoint_every: Interval | None = Field(
        None, description="Steps, or a time such as 30s or 10min, between them; default 10min."
    )
    resume: bool = Field(False, description="Go on from the checkpoints of a fit that was stopped.")

    def recipe(self, schedule: str, name: str | None = None) -> Recipe:
        """Return the recipe that the settings describe."""
        from jointrain.training import Phases

        if (schedule == "phases") != bool(self.phases):
            raise InvalidInputError(
                "schedule 'phases' and [[phases]] in the config file go together; give both or "
                "neither"
            )
        recipe = super().recipe("joint" if self.phases else schedule, name or schedule)
        if self.phases:
            recipe = replace(recipe, schedule=Phases.from_plain(self.phases))
        groups = self.groups
        partition = None if groups is None else tuple(tuple(group) for group in groups)
        return replace(recipe, auxiliary=tuple(self.auxiliary), partition=partition)


class SearchSettings(MeasuredSettings):
    """Settings that the searches have in common."""

    schedule: Literal["joint", "alternating"] = Field(
        "joint", description="How the tasks take turns."
    )
    folds: int = Field(5, ge=2, le=1000, description="Number of inner folds.")
    seeds: int = Field(2, ge=1, le=1000, description="Number of repetitions of the folds.")
    importance: Numbers = Field(
        {}, description="How much a target counts: a=2,b=1; default 1 for each."
    )
    budget: Duration | None = Field(
        None, description="Time for everything, such as 60s or 2m; default no limit."
    )
    out: Path | None = Field(None, description="Folder to write; default none.")

    @property
    def search(self) -> dict[str, Any]:
        """What all searches are told."""
        return {
            "folds": self.folds,
            "seeds": self.seeds,
            "seed": self.seed,
            "importance": self.importance,
            "margin": self.margin,
            "budget": None if self.budget is None else seconds_of(self.budget),
            "workers": self.workers,
        }


class WeighSettings(SearchSettings):
    """Settings of ``jointrain weigh``."""

    trials: int = Field(24, ge=1, le=10**6, description="Number of searched weight vectors.")
    pareto: bool = Field(False, description="Search the front of all targets' metrics.")


class GroupSettings(SearchSettings):
    """Settings of ``jointrain group``."""

    trials: int = Field(12, ge=1, le=10**6, description="Number of partitions to measure.")
    models: int | None = Field(None, ge=1, le=10**4, description="Largest number of networks.")
    measure: Literal["gradient", "lookahead"] = Field(
        "gradient", description="How affinity is measured."
    )


class ShareSettings(SearchSettings):
    """Settings of ``jointrain share``."""
