"""What commands of a bundle begin with: a table read as the one that it was trained on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jointrain.cli._reading import with_kept_reading
from jointrain.errors import InvalidInputError
from jointrain.system.quick_imports import quick_imports
from jointrain.system.terminal_streams import say
from jointrain.system.text_pairs import numbers_by_name

if TYPE_CHECKING:
    import polars as pl

    from jointrain.data import RawTable, ReadingOptions
    from jointrain.tables import BlendedModel, TableModel


class TableBundle(NamedTuple):
    """The model of a table, and what its bundle tells of it."""

    model: TableModel | BlendedModel
    description: dict[str, Any]

    def preferring(self, said: str | None) -> TableBundle:
        """Return it with the model for the trade-off that a flag names; itself if it names none.

        Raises:
            InvalidInputError: The flag has another form, or the model has no such trade-off.
        """
        if said is None:
            return self
        return self._replace(model=self.model.preferring(numbers_by_name(said, "--preference")))


def open_table_bundle(path: Path, factory: list[str] | None) -> TableBundle:
    """Open the bundle of a table's model with what --factory names.

    Raises:
        InvalidInputError: It is damaged, needs another factory, or holds modules of other inputs.
    """
    with quick_imports():
        from jointrain.bundle import describe_bundle, read_bundle
        from jointrain.training import NetworkModel

    described = describe_bundle(path)
    if described.get("kind") != "modules":
        opened = read_bundle(path, factories=factories_of(factory))
        for remark in opened.remarks:
            say(f"note: {remark}")
        if not isinstance(opened.model, NetworkModel):
            return TableBundle(opened.model, opened.description)
    raise InvalidInputError(
        f"{path} holds modules of one's own, whose inputs are no table: use Python, "
        "jointrain.load_bundle(path, factories={...}).predict(inputs) or .evaluate(data)"
    )


def as_written(
    options: ReadingOptions, model: TableModel | BlendedModel, notes: Mapping[str, Any]
) -> ReadingOptions:
    """Return how a file is written that a model's schema reads, as training's if not said."""
    read = with_kept_reading(options, notes)
    return read if model.schema is None else model.schema.quoted_words(read)


def raw_table(table: str, options: ReadingOptions, opened: TableBundle) -> RawTable:
    """Read a table's file as that of training was, where nothing else is said."""
    from jointrain.data import read_raw

    raw = read_raw(table, as_written(options, opened.model, opened.description["notes"]))
    for note in raw.notes:
        say(f"note: {note}")
    return raw


def read_for(
    model: TableModel | BlendedModel,
    raw: RawTable,
    options: ReadingOptions,
    others: Sequence[str] = (),
) -> pl.DataFrame:
    """Return a table read as that of a model's training was, and say what there is to say of it.

    Args:
        model: The model.
        raw: The table as it is written.
        options: Where it is written in another way than in training.
        others: Columns to read beside the model's own.

    Raises:
        InvalidInputError: A cell is not what its column must hold.
    """
    from jointrain.tables import read_as_trained, reading_notes, unseen_notes

    say_all(reading_notes(model))
    frame = read_as_trained(model, raw, options, others)
    say_all(unseen_notes(model.encoder.unseen(frame)))
    return frame


def say_all(told: Iterable[str]) -> None:
    """Print notes and warnings, a line each."""
    for one in told:
        say(one)


def factories_of(paths: list[str] | None) -> dict[str, Any]:
    """Return what --factory names, by path and by name."""
    from jointrain.system.own_code import imported

    made = {path: imported(path) for path in paths or ()}
    return made | {path.partition(":")[2]: factory for path, factory in made.items()}
