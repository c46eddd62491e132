"""Tables of runs, however they were kept: a row a value, a column a metric, MLflow, W&B."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from jointrain.errors import InvalidInputError, closest
from jointrain.studies._metric_names import holds_known_name, is_turned

KEYS = ["recipe", "task", "metric", "seed", "fold"]

_PREFIXES = ("params.", "tags.", "config.", "metrics.", "summary.")
"""What MLflow and some exports of W&B put before the name of a column."""

_METRIC_PREFIXES = ("metrics.", "summary.", "")
"""Those of columns of metrics, in the order in which they are looked for."""

_STATES = {"status": "run_id", "State": "Name"}
"""Columns that say how a run ended, with one that shows whose they are: MLflow's, and W&B's."""


@dataclass(frozen=True)
class RunsTable:
    """The values of runs, a row each.

    Args:
        frame: Columns `KEYS` (text), ``value``, ``test_rows`` and ``train_rows`` (numbers or
            null). A value is null where a run was made and it is undefined or infinite. No key
            comes twice.
        notes: What was left out, in words.
    """

    frame: pl.DataFrame
    notes: tuple[str, ...] = ()


def runs_table(
    frame: pl.DataFrame,
    *,
    recipe: str,
    task: str | None,
    metric: str | None,
    value: str | None,
    seed: str | None,
    fold: str | None,
    wide: str | None,
    test_rows: str | None,
    train_rows: str | None,
    directed: Collection[str] = (),
) -> RunsTable:
    """Return the values of a table of runs.

    Args:
        frame: The table.
        recipe: Name of the column of recipes. Of MLflow's, here and below, ``params.`` and
            ``tags.`` may be left out.
        task: That of tasks; default ``task``.
        metric: That of metrics; default ``metric``, and where there is none, `value` names it.
        value: That of values; default ``value``.
        seed: That of seeds; default ``seed``, and where there is none but folds, all are of one.
        fold: That of folds; None: all runs are of one.
        wide: Pattern of the names of columns that hold a metric of a task each, such as
            ``{task}/{metric}`` or ``acc_{task}``; default: a row holds one value.
        test_rows: Name of the column of rows in a fold's test part.
        train_rows: That of rows in its training part.
        directed: Metrics whose direction the caller says, to read names by the pattern.

    Raises:
        InvalidInputError: A column is missing, a cell can't be read, a key comes twice.
    """
    if not frame.height:
        raise InvalidInputError("the table of runs has no rows; give it one for each run")
    if seed is None and (fold is None or "seed" in frame.columns or "params.seed" in frame.columns):
        seed = "seed"
    finished, notes = _finished(frame)
    one = pl.lit("")
    keys = {
        "recipe": _text(frame, _column(frame, recipe, "recipes", "--recipe")),
        "seed": one if seed is None else _text(frame, _column(frame, seed, "seeds", "--seed")),
        "fold": one if fold is None else _text(frame, _column(frame, fold, "folds", "--fold")),
    }
    rows = {
        name: pl.lit(None, pl.Float64)
        if given is None
        else _numbers(frame, _column(frame, given, words))
        for name, given, words in (
            ("test_rows", test_rows, "test rows"),
            ("train_rows", train_rows, "training rows"),
        )
    }
    placed = frame.with_row_index("jointrain row", offset=1)
    common = [pl.col("jointrain row").alias("row"), finished.alias("finished")]
    common += [expression.alias(name) for name, expression in (keys | rows).items()]
    if wide is None:
        long, more = _long(frame, placed, common, task, metric, value)
    else:
        if any(name is not None for name in (task, metric, value)):
            raise InvalidInputError(
                "with --wide the names of columns hold task and metric: leave out --task, --metric "
                "and --value"
            )
        long, more = _wide(frame, placed, common, wide, directed)
    long = long.filter("finished")
    long = long.filter(~(pl.any_horizontal(pl.col(KEYS).is_null()) & pl.col("value").is_null()))
    _check_keys(
        long, {"recipe": recipe, "task": task, "metric": metric, "seed": seed, "fold": fold}
    )
    return RunsTable(_once(long, fold), (*notes, *more, *_infinite(long)))


def _finished(frame: pl.DataFrame) -> tuple[pl.Expr, list[str]]:
    """Return which runs an export of MLflow or W&B does not call unfinished, and a note."""
    for name, other in _STATES.items():
        if name not in frame.columns or other not in frame.columns:
            continue
        state = pl.col(name).cast(pl.String).str.to_lowercase()
        left = frame.filter(state != "finished")
        if len(left) == len(frame):
            raise InvalidInputError(f"no run is finished by column {name!r}; nothing can be judged")
        if len(left):
            words = ", ".join(sorted({str(one) for one in left[name]}))
            runs = "run is" if len(left) == 1 else "runs are"
            return (state == "finished").fill_null(True), [
                f"{len(left)} {runs} not finished ({words}) and left out"
            ]
    return pl.lit(True), []


def folds_column(frame: pl.DataFrame) -> tuple[str | None, list[str]]:
    """Return the column named ``fold`` if it tells runs apart, and a note that it does.

    Seeds on one test set are judged otherwise than folds, so that none may be passed over.
    """
    names = [name for prefix in ("", *_PREFIXES) if (name := f"{prefix}fold") in frame.columns]
    if len(names) != 1 or frame[names[0]].drop_nulls().n_unique() < 2:
        return None, []
    return names[0], [f"column {names[0]!r} is taken as the folds; --fold names another one"]


def _column(frame: pl.DataFrame, name: str, what: str, flag: str = "") -> str:
    if name in frame.columns:
        return name
    found = [prefix + name for prefix in _PREFIXES if prefix + name in frame.columns]
    if len(found) == 1:
        return found[0]
    if found:
        raise InvalidInputError(f"column {name!r} may be {' or '.join(found)}; name the one meant")
    shown = ", ".join(map(repr, frame.columns[:8])) + (", ..." if frame.width > 8 else "")
    near = closest(name, frame.columns) or f"; it has {shown}"
    named = f"; {flag} names another one" if flag else ""
    raise InvalidInputError(f"the table of runs has no column {name!r} for the {what}{near}{named}")


def _text(frame: pl.DataFrame, name: str) -> pl.Expr:
    dtype = frame.schema[name]
    if dtype.is_nested():
        raise InvalidInputError(f"column {name!r} holds lists or records; give it one text a row")
    column = pl.col(name)
    if dtype.is_float():
        numbers = frame[name].drop_nulls()
        if bool(((numbers % 1 == 0) & (numbers.abs() < 2.0**63)).all()):
            column = column.cast(pl.Int64)
    text = column.cast(pl.String).str.strip_chars()
    return pl.when(text != "").then(text)


def _numbers(frame: pl.DataFrame, name: str) -> pl.Expr:
    series = frame[name]
    if series.dtype.is_numeric() or series.dtype == pl.Null:
        return pl.col(name).cast(pl.Float64)
    if series.dtype == pl.String:
        text = pl.col(name).str.strip_chars()
        number = pl.when(text != "").then(text)
        read = frame.select(text=number, number=number.cast(pl.Float64, strict=False))
        wrong = read.with_row_index("row", offset=1).filter(
            pl.col("text").is_not_null() & pl.col("number").is_null()
        )
        if not len(wrong):
            return number.cast(pl.Float64).fill_nan(None)
        cell, row = repr(wrong["text"][0]), wrong["row"][0]
        raise InvalidInputError(f"column {name!r} holds {cell} in row {row}, which is no number")
    raise InvalidInputError(f"column {name!r} holds {series.dtype} where numbers belong")


def _long(
    frame: pl.DataFrame,
    placed: pl.DataFrame,
    common: list[pl.Expr],
    task: str | None,
    metric: str | None,
    value: str | None,
) -> tuple[pl.DataFrame, list[str]]:
    values = _column(frame, value or "value", "values (--value)")
    if metric is None and "metric" not in frame.columns:
        if value is None:
            raise InvalidInputError(
                "the table of runs has no column 'metric'; name the column of metrics (--metric), "
                "or that of values by its metric (--value accuracy)"
            )
        metrics = pl.lit(values)
    else:
        metrics = _text(frame, _column(frame, metric or "metric", "metrics", "--metric"))
    tasks = _text(frame, _column(frame, task or "task", "tasks (--task, or --wide)"))
    return (
        placed.select(
            *common,
            task=tasks,
            metric=metrics,
            value=_numbers(frame, values),
        ),
        [],
    )


def _wide(
    frame: pl.DataFrame,
    placed: pl.DataFrame,
    common: list[pl.Expr],
    pattern: str,
    directed: Collection[str],
) -> tuple[pl.DataFrame, list[str]]:
    found: dict[str, tuple[str, str]] = {}
    text = []
    for prefix in _METRIC_PREFIXES:
        split = _Pattern.of(prefix + pattern, prefix)
        for name in frame.columns:
            parts = split.parts(name, directed)
            if parts is None:
                continue
            if frame.schema[name].is_numeric() or _all_numbers(frame[name]):
                found[name] = parts
            elif frame.schema[name] != pl.Null:
                text.append(name)
        if found:
            _check_prefix(frame, found, pattern, prefix, directed)
            break
    if not found:
        raise InvalidInputError(
            f"no column with numbers fits the pattern {pattern!r}; the columns are "
            f"{', '.join(map(repr, frame.columns[:8]))}{', ...' if frame.width > 8 else ''}"
        )
    columns = [
        placed.select(
            *common, task=pl.lit(task), metric=pl.lit(metric), value=_numbers(frame, name)
        )
        for name, (task, metric) in found.items()
    ]
    notes = [f"columns that fit {pattern!r} but hold no numbers: {', '.join(text)}"] if text else []
    return pl.concat(columns), notes


def _check_prefix(
    frame: pl.DataFrame,
    found: Mapping[str, tuple[str, str]],
    pattern: str,
    prefix: str,
    directed: Collection[str],
) -> None:
    """Refuse columns that fit with another prefix: their tasks would be passed over."""
    metrics = {metric for _, metric in found.values()}
    for other in (one for one in _METRIC_PREFIXES if one != prefix):
        split = _Pattern.of(other + pattern, other)
        for name in frame.columns:
            # params.n/acc is no metric of task params.n
            if name in found or any(name.startswith(one) for one in _PREFIXES if one != other):
                continue
            fits = any(
                metric in metrics or metric in directed or holds_known_name(metric)
                for _, metric in split.ways(name)
            )
            if fits and (frame.schema[name].is_numeric() or _all_numbers(frame[name])):
                without = f"with {other!r}" if other else "without"
                raise InvalidInputError(
                    f"columns {next(iter(found))!r} and {name!r} both fit the pattern {pattern!r}, "
                    f"with {prefix!r} and {without}; name them alike, or leave out those that are "
                    "not meant"
                )


def _all_numbers(series: pl.Series) -> bool:
    if series.dtype != pl.String:
        return False
    return series.cast(pl.Float64, strict=False).null_count() == series.null_count() < len(series)


@dataclass(frozen=True)
class _Pattern:
    """A pattern of names: text around one or two fields, of which one is ``task``."""

    text: str
    before: str
    between: str
    after: str
    fields: tuple[str, ...]
    prefix: str

    @classmethod
    def of(cls, text: str, prefix: str) -> _Pattern:
        fields = tuple(re.findall(r"\{(.*?)\}", text))
        shown = text.removeprefix(prefix)
        if "task" not in fields or not set(fields) <= {"task", "metric"} or len(fields) > 2:
            raise InvalidInputError(
                f"--wide must hold {{task}} once and may hold {{metric}} once, such as "
                f"{{task}}/{{metric}}, got {shown!r}"
            )
        before, *rest = re.split(r"\{.*?\}", text)
        if len(fields) == 2 and (fields[0] == fields[1] or not rest[0]):
            raise InvalidInputError(
                f"--wide needs something between {{task}} and {{metric}}, got {shown!r}"
            )
        return cls(text, before, rest[0] if len(rest) == 2 else "", rest[-1], fields, prefix)

    def parts(self, name: str, directed: Collection[str]) -> tuple[str, str] | None:
        """Return task and metric of a column's name; None where it does not fit."""
        ways = self.ways(name)
        if len(ways) > 1:
            known = [way for way in ways if way[1] in directed or holds_known_name(way[1])]
            ways = known or ways
        if len(ways) > 1:
            said = " or ".join(f"task {task!r} with {metric!r}" for task, metric in ways)
            raise InvalidInputError(
                f"column {name!r} fits {self.text!r} as {said}; write more of the name into --wide"
            )
        return ways[0] if ways else None

    def ways(self, name: str) -> list[tuple[str, str]]:
        """Return tasks and metrics as which a column's name can be read."""
        if not (name.startswith(self.before) and name.endswith(self.after)):
            return []
        inner = name[len(self.before) : len(name) - len(self.after)]
        if not inner or len(self.before) + len(self.after) >= len(name):
            return []
        if len(self.fields) == 1:
            around = self.before.removeprefix(self.prefix) + " " + self.after
            metric = " ".join(re.sub(r"^[\W_]+|[\W_]+$", "", one) for one in around.split(" "))
            whole = self.text.removeprefix(self.prefix)
            # 1 - acc {task} is no metric called acc: a name that keeps its sign is asked about
            turned = is_turned(whole.replace("{task}", "mean")) and not is_turned(metric)
            return [(inner, whole if turned else metric.strip() or "value")]
        starts = [at.start() for at in re.finditer(f"(?={re.escape(self.between)})", inner)]
        splits = [
            dict(zip(self.fields, (inner[:at], inner[at + len(self.between) :]), strict=True))
            for at in starts
        ]
        return [(one["task"], one["metric"]) for one in splits if one["task"] and one["metric"]]


def _check_keys(long: pl.DataFrame, columns: dict[str, str | None]) -> None:
    for key in KEYS:
        lacking = long.filter(pl.col(key).is_null())
        if len(lacking):
            row = int(lacking["row"].to_list()[0])
            raise InvalidInputError(
                f"row {row} has no {key} (column {columns[key] or key!r}); give "
                "it one or leave the row out"
            )
        if key in ("seed", "fold"):
            continue
        alike: dict[str, str] = {}
        for name in sorted(map(str, long[key].unique())):
            other = alike.setdefault(name.casefold(), name)
            if other != name:
                raise InvalidInputError(
                    f"{key} {other!r} and {key} {name!r} differ in case only; write them alike"
                )


def _once(long: pl.DataFrame, fold: str | None) -> pl.DataFrame:
    """Return one row for each key; a value wins over an empty cell of the same key."""
    given = long.filter(pl.col("value").is_not_null())
    twice = given.group_by(KEYS).agg(pl.col("row").sort()).filter(pl.col("row").list.len() > 1)
    if len(twice):
        first = twice.sort("row").row(0, named=True)
        which = f"recipe {first['recipe']}, task {first['task']}, metric {first['metric']}"
        which += f", seed {first['seed']}" if first["seed"] else ""
        which += f", fold {first['fold']}" if first["fold"] else ""
        more = f"; {len(twice) - 1:,} more come twice" if len(twice) > 1 else ""
        hint = "" if fold else " or name the column that tells them apart (--fold)"
        rows = " and ".join(str(row) for row in first["row"][:2])
        raise InvalidInputError(
            f"rows {rows} are the same run ({which}){more}; leave one out{hint}"
        )
    empty = long.filter(pl.col("value").is_null()).unique(KEYS).join(given, on=KEYS, how="anti")
    whole = pl.concat([given, empty]).sort(KEYS)
    finite = pl.when(pl.col("value").is_finite()).then(pl.col("value"))
    return whole.select(*KEYS, finite.alias("value"), "test_rows", "train_rows")


def _infinite(long: pl.DataFrame) -> Sequence[str]:
    count = int(long["value"].is_infinite().sum())
    if not count:
        return []
    return [f"{count} infinite value{'s are' if count > 1 else ' is'} taken as undefined"]
