"""The errors that jointrain raises for what a user can mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class JointrainError(Exception):
    """Root of all errors whose message is meant for the user."""


class InvalidInputError(JointrainError, ValueError):
    """A value, a table or a file that jointrain was given can't be used as it is."""


class NonFiniteError(InvalidInputError):
    """A loss or a gradient of a step is NaN or infinite; the step has not been made."""


class MissingFactoryError(InvalidInputError):
    """A saved model is whole, but code of one's own that it needs was not given."""


class MissingDependencyError(JointrainError, ImportError):
    """An optional package is needed; the message carries the pip line that installs it."""


class NotFittedError(JointrainError, RuntimeError):
    """Something was asked of a model that has not been fitted."""


class WorkerDiedError(JointrainError, RuntimeError):
    """A process that ran a part of a study, or that read rows, died, and so did its successors."""


class RankFailedError(JointrainError, RuntimeError):
    """One of the processes that train together has failed, or does not answer any more."""


class StoppedError(JointrainError):
    """Ctrl-C or SIGTERM came when the work was saved; the message says where."""


def closest(name: str, known: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the known name closest to `name`, or an empty string.

    Upper and lower case make no difference.
    """
    folded = {one.casefold(): one for one in reversed(list(known))}
    matches = difflib.get_close_matches(name.casefold(), list(folded), n=1, cutoff=0.5)
    return f" (did you mean {folded[matches[0]]!r}?)" if matches else ""
