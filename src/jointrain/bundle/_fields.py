"""What ``bundle.json`` holds: each field with its type and range."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from jointrain.data import ColumnReading
from jointrain.task import TABLE_KINDS

_LARGEST_TARGET = 1e101
"""Targets beyond 1e100 are refused in training."""

# a list of millions of wrong values is one fault
_Names = Annotated[list[str], Field(fail_fast=True)]
_Figures = Annotated[list[float | None], Field(fail_fast=True)]
_Positive = Annotated[float, Field(ge=0)]
_Code = Annotated[int, Field(strict=True, ge=-(2**31), le=2**31 - 1)]


class Strict(BaseModel):
    """Fields that are all known, and finite numbers."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class TaskEntry(Strict):
    """A task, its scale and its calibration."""

    name: str
    kind: str
    classes: Annotated[list[bool | int | float | str], Field(fail_fast=True)]
    metric: str | None = None
    query: str | None = None
    columns: _Names = []
    given: str | None = None
    correction: str | None = None
    mean: float | None = Field(None, ge=-_LARGEST_TARGET, le=_LARGEST_TARGET)
    deviation: float | None = Field(None, ge=1 / _LARGEST_TARGET, le=_LARGEST_TARGET)
    temperature: float | None = Field(None, ge=0.01, le=100)
    unseen_rows: int | None = Field(None, ge=0)
    interval_scale: Literal["linear", "log"] | None = None
    lowest: float | None = None

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        if len({type(name) for name in self.classes}) > 1:
            raise ValueError(f"target {self.name!r} has classes of several kinds")
        kind = TABLE_KINDS.get(self.kind)
        if kind is None:
            raise ValueError(f"target {self.name!r} is of a kind that no table has")
        if kind.calibrated_by != "temperature" and self.temperature is not None:
            raise ValueError(f"number {self.name!r} has a temperature")
        if not kind.has_scale and (self.mean, self.deviation) != (None, None):
            raise ValueError(f"class target {self.name!r} has a scale of numbers")
        if kind.calibrated_by != "errors" and self.unseen_rows is not None:
            raise ValueError(f"target {self.name!r} has errors of numbers")
        once("column", self.columns)
        return self


class ColumnEntry(Strict):
    """A feature column; its categories are those of the encoder."""

    name: str
    kind: str
    dtype: str
    categories: _Names | None = None
    separator: str = ""


class PartEntry(Strict):
    """A network: what it predicts, what it has heads for, and how it was trained."""

    tasks: _Names
    network_tasks: _Names
    weights: dict[str, _Positive]
    validation: dict[str, float]
    epochs: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]]

    @model_validator(mode="after")
    def _check_tasks(self) -> Self:
        once("task", self.network_tasks)
        once("task", self.tasks)
        if not self.tasks or not {*self.tasks} <= {*self.network_tasks}:
            raise ValueError("a network predicts a task that it has no head for")
        return self


class ComponentEntry(Strict):
    """A component of a blend."""

    name: str
    kind: Literal["networks", "baseline"]
    tasks: _Names


class _TaskImportance(BaseModel):
    metric: str
    increase: _Figures
    used: _Names


class _Importance(BaseModel):
    columns: _Names
    tasks: dict[str, _TaskImportance]

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        if any(len(task.increase) != len(self.columns) for task in self.tasks.values()):
            raise ValueError("importance and columns differ in number")
        return self


class _StoredPromise(BaseModel):
    loss: str
    mean: FiniteFloat = Field(ge=0)
    upper: FiniteFloat = Field(gt=0)
    rows: int = Field(ge=1)


class _StoredShares(BaseModel):
    cuts: list[FiniteFloat] | None = None
    categories: list[str] | None = None
    counts: list[Annotated[int, Field(ge=0, le=2**53)]]

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        if (self.cuts is None) == (self.categories is None):
            raise ValueError("shares are either of numbers or of categories")
        parts = self.cuts if self.cuts is not None else self.categories
        if len(self.counts) != len(parts or ()) + 2:
            raise ValueError("counts and parts differ in number")
        if self.cuts is not None and sorted(self.cuts) != self.cuts:
            raise ValueError("cuts are not in order")
        return self


class _StoredRows(BaseModel):
    rows: int = Field(ge=1)
    digests: list[str] = Field(min_length=1)
    by_chance: float = Field(0, ge=0, le=1)

    @model_validator(mode="after")
    def _check_number(self) -> Self:
        if len({*self.digests}) > self.rows:
            raise ValueError("there are more digests than rows")
        return self


class _Reference(BaseModel):
    promises: dict[str, _StoredPromise]
    constants: dict[str, list[FiniteFloat]]
    columns: dict[str, _StoredShares]
    known_rows: _StoredRows | None = None


class _KnownNotes(BaseModel):
    """The notes that commands use; others are the user's."""

    id: str | None = None
    time: str | None = None
    row_weight: str | None = None
    class_weights: str | dict[str, float] | None = None
    metrics: str | None = None
    reading: dict[str, str | None] | None = None
    importance: _Importance | None = None
    reference: _Reference | None = None


def _checked_notes(notes: dict[str, Any]) -> dict[str, Any]:
    try:
        _KnownNotes.model_validate(notes)
    except ValidationError as error:
        raise ValueError(first_fault(error)) from None
    return notes


class _Saved(Strict):
    """What all bundles say."""

    schema_version: int
    packages: dict[str, str]
    metrics: dict[str, dict[str, float | None]]
    notes: Annotated[dict[str, Any], AfterValidator(_checked_notes)]
    digests: dict[str, str]


class _Described(_Saved):
    """What all bundles of tables say."""

    tasks: list[TaskEntry] = Field(min_length=1)
    columns: list[ColumnEntry] = Field(min_length=1)
    table_schema: dict[str, ColumnReading] | None = None

    @field_validator("table_schema", mode="before")
    @classmethod
    def _check_number_of_readings(cls, readings: Any, info: ValidationInfo) -> Any:
        # beside the features, targets and the columns of rows, groups and times: a few
        most = 1000 + 2 * len(info.data.get("columns", ()))
        if isinstance(readings, dict) and len(readings) > most:
            raise ValueError("more columns are read than a model of its columns has")
        return readings

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        once("task", (task.name for task in self.tasks))
        once("column", (column.name for column in self.columns))
        return self


class BlendDescription(_Described):
    """The contents of a blend's ``bundle.json``, but for its own digest."""

    kind: Literal["blend"] = "blend"
    components: list[ComponentEntry] = Field(min_length=1)
    weights: dict[str, dict[str, _Positive]]

    @model_validator(mode="after")
    def _check_blends(self) -> Self:
        once("component", (component.name for component in self.components))
        predicted = {component.name: {*component.tasks} for component in self.components}
        if self.weights.keys() != {task.name for task in self.tasks}:
            raise ValueError("tasks and weights differ")
        for task, weights in self.weights.items():
            if not all(task in predicted.get(name, ()) for name in weights):
                raise ValueError(f"a component of task {task!r} is missing")
            if abs(sum(weights.values()) - 1) > 1e-6:
                raise ValueError(f"the weights of task {task!r} do not sum to 1")
        return self


class Description(_Described):
    """The contents of ``bundle.json``, but for its own digest."""

    inputs: int = Field(ge=1)
    parts: list[PartEntry] = Field(min_length=1)
    recipe: dict[str, Any]
    input_dropout: float | None = Field(None, ge=0, lt=1)
    """Of the networks as they were trained. None, in older bundles: as given by the recipe, else
    0.3 if all tasks have classes, else 0."""
    seed: int

    @model_validator(mode="after")
    def _check_parts(self) -> Self:
        known = {task.name for task in self.tasks}
        if any(not {*part.network_tasks} <= known for part in self.parts):
            raise ValueError("a network predicts what is no task")
        if {name for part in self.parts for name in part.tasks} != known:
            raise ValueError("a task has no network")
        for task in self.tasks:
            numbers = TABLE_KINDS[task.kind].has_scale
            if numbers and (task.mean is None or task.deviation is None):
                raise ValueError(f"task {task.name!r} has no mean or no deviation")
        return self


class FactoryEntry(Strict):
    """What makes a network: where it was defined, what it is told beside tasks, its code's hash."""

    path: str
    arguments: dict[str, Any]
    version: str | None
    digest: str


class MetricEntry(Strict):
    """A metric whose figure code of one's own computes, by path."""

    name: str
    path: str
    higher_is_better: bool
    lowest: float | None = None
    highest: float | None = None
    percent_above: float = 0.0
    query: str | None = None


class OwnTaskEntry(Strict):
    """A task of any kind; None for metrics: those of its kind."""

    name: str
    kind: str
    classes: Annotated[list[bool | int | float | str], Field(fail_fast=True)]
    size: int = Field(ge=1, le=1 << 22)
    loss: str | None = None
    metrics: list[MetricEntry] | None = None
    class_weights: Literal["balanced"] | list[float] | None = None
    given: str | None = None
    correction: str | None = None
    channels_first: bool = True
    ignored: Annotated[list[_Code], Field(max_length=1 << 16)] = []


class ModulesDescription(_Saved):
    """The contents of ``bundle.json`` of modules of one's own, but for its own digest."""

    kind: Literal["modules"] = "modules"
    tasks: list[OwnTaskEntry] = Field(min_length=1)
    parts: list[PartEntry] = Field(min_length=1)
    auxiliary: _Names
    batch_size: int = Field(ge=1, le=2**31 - 1)
    factory: FactoryEntry

    @model_validator(mode="after")
    def _check_parts(self) -> Self:
        once("task", (task.name for task in self.tasks))
        known = {task.name for task in self.tasks}
        if any(not {*part.network_tasks} <= known for part in self.parts):
            raise ValueError("a network has a head for what is no task")
        once("predicted task", (name for part in self.parts for name in part.tasks))
        if {name for part in self.parts for name in part.tasks} != known:
            raise ValueError("a task has no network")
        if not {*self.auxiliary} < known:
            raise ValueError("the auxiliary tasks are not some of the tasks")
        return self


def once(what: str, names: Iterable[str]) -> None:
    """Refuse a name that comes twice."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{what} {name!r} is named twice")
        seen.add(name)


def first_fault(error: ValidationError) -> str:
    """Return the first fault in one line: where and what."""
    fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part)[:40] for part in fault["loc"][:4])
    message = fault["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" if where else message
