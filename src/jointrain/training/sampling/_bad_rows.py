"""Rows that can't be read and worker processes that die: left out and replaced, up to a limit."""

from __future__ import annotations

import re
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from torch.utils.data import Subset, default_collate

from jointrain.errors import InvalidInputError, WorkerDiedError

_DEATH = re.compile(r"DataLoader worker \(pid.*?\) (.*)", re.DOTALL)


class UnreadRow(NamedTuple):
    """A row that raised when it was read, and in what words.

    Args:
        number: In the data set that was read.
        reason: The error, in one line.
        trace: Where it was raised.
        whole: Number in the data set that this one is a subset of; None if it is none.
    """

    number: int
    reason: str
    trace: str
    whole: int | None = None

    @staticmethod
    def of(number: int, error: Exception, data: Any = None) -> UnreadRow:
        """Return the row of a data set that raised an error."""
        told = " ".join(f"{type(error).__name__}: {error}".split())
        trace = "".join(traceback.format_exception(error))
        whole = None
        while isinstance(data, Subset):
            whole = int(data.indices[number if whole is None else whole])
            data = data.dataset
        return UnreadRow(number, told[:300].removesuffix(": "), trace, whole)


def default_batch(rows: list[Any]) -> Any:
    """Return the batch that torch makes of rows by itself.

    Raises:
        InvalidInputError: They do not go together, as where rows have different targets.
    """
    try:
        return default_collate(rows)
    except (KeyError, RuntimeError, TypeError) as error:
        told = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise InvalidInputError(
            f"rows can't be put together into a batch ({told}); give each row the same inputs and "
            "targets, NaN or -100 where a label is missing, or give a `collate_fn`"
        ) from error


class ReadRows(NamedTuple):
    """A batch of what could be read, None of nothing, and what could not."""

    batch: Any
    unread: tuple[UnreadRow, ...]


class CollatedRows:
    """Makes a batch of the rows that could be read.

    Args:
        collate: Makes it of a list of rows; default `default_batch`.
    """

    def __init__(self, collate: Callable[[list[Any]], Any] | None) -> None:
        self._collate = default_batch if collate is None else collate

    def __call__(self, rows: list[Any]) -> ReadRows:
        """Return the batch, and the rows that are not in it."""
        unread = tuple(row for row in rows if isinstance(row, UnreadRow))
        read = [row for row in rows if not isinstance(row, UnreadRow)] if unread else rows
        return ReadRows(self._collate(read) if read else None, unread)


class BadRows:
    """Counts rows that can't be read, and deaths of the processes that read them, of all sets.

    A row counts once, however often it is drawn.

    Args:
        limit: How many there may be; 0 lets the first end the training.

    Attributes:
        in_epoch: How many were found since the last epoch's record.
    """

    def __init__(self, limit: int = 0) -> None:
        self.limit = limit
        self.in_epoch = 0
        self._rows: set[tuple[str, int]] = set()
        self._deaths = 0

    def see(self, what: str, unread: Sequence[UnreadRow]) -> None:
        """Take in rows that could not be read.

        Args:
            what: The data set in words.
            unread: The rows.

        Raises:
            InvalidInputError: There are more of them than the limit says.
        """
        for row in unread:
            if (what, row.number) in self._rows:
                continue
            self._rows.add((what, row.number))
            within = "" if row.whole is None else f", row {row.whole} of the whole data set,"
            told = f"row {row.number} of {what}{within} can't be read ({row.reason})"
            if not self._count():
                error = InvalidInputError(f"{told}; {self._advice('leaves such rows out')}")
                error.add_note(f"Where it was read:\n{row.trace}")
                raise error
            warnings.warn(f"{told}; it is left out", stacklevel=2)

    def see_death(self, what: str, error: RuntimeError) -> None:
        """Take in that a process died that read rows.

        Raises:
            WorkerDiedError: There are more such faults than the limit says.
            RuntimeError: The error as it is, if it is another one.
        """
        found = _DEATH.search(str(error))
        if found is None:
            raise error
        self._deaths += 1
        reason = " ".join(found[1].split())[:200].rstrip(".")
        told = f"a worker process that reads {what} died ({reason})"
        if not self._count():
            raise WorkerDiedError(
                f"{told}; if memory ran out, give fewer `num_workers` or a smaller `batch_size`; "
                f"{self._advice('puts a new one in its place')}"
            ) from error
        warnings.warn(f"{told}; a new one reads on", stacklevel=2)

    def taken(self) -> int:
        """Return how many were found since it was last asked."""
        found, self.in_epoch = self.in_epoch, 0
        return found

    def _count(self) -> bool:
        """Count a fault; return whether it may be."""
        self.in_epoch += 1
        return len(self._rows) + self._deaths <= self.limit

    def _advice(self, does: str) -> str:
        if not self.limit:
            return f"bad_rows='skip' with a `bad_rows_limit` {does}"
        return f"`bad_rows_limit` is {self.limit}"

    def state_dict(self) -> dict[str, Any]:
        """Return what has been counted."""
        rows = [[what, number] for what, number in sorted(self._rows)]
        return {"rows": rows, "deaths": self._deaths, "in_epoch": self.in_epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set the counts to what `state_dict` gave."""
        self._rows = {(what, number) for what, number in state["rows"]}
        self._deaths, self.in_epoch = state["deaths"], state["in_epoch"]
