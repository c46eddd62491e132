"""Standard output and error as a command leaves them: any encoding, any end of the pipe."""

from __future__ import annotations

import codecs
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from jointrain.errors import InvalidInputError, StoppedError

_PLAIN = {
    "↑": "^",
    "↓": "v",
    "±": "+-",
    "…": "...",
    "─": "-",
    "━": "-",
    "│": "|",
    "–": "-",
    "’": "'",
    **dict(zip("▁▂▃▄▅▆▇█", "_.-=+*#@", strict=True)),
}
"""What stands for characters that an encoding lacks."""


def open_closed_streams() -> None:
    """Open those of the three streams that were closed before this process began.

    Otherwise the next file that is opened has such a stream's number, and what is printed by a
    library ends up in it. Standard output then refuses what is written, as that of a full disk
    does; standard error has nobody to tell, and takes it.
    """
    for number, name, way in (
        (0, "stdin", os.O_RDONLY), (1, "stdout", os.O_RDONLY), (2, "stderr", os.O_WRONLY)
    ):  # fmt: skip
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, way)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)
            if getattr(sys, name) is None:
                stream = os.fdopen(number, "r" if number == 0 else "w", encoding="utf-8")
                setattr(sys, name, stream)


def use_plain_characters() -> None:
    """Let both streams write something else for characters that their encoding lacks."""
    codecs.register_error("jointrain", _replaced)
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError):  # closed, or a stand-in without encoding
            stream.reconfigure(errors="jointrain")  # type: ignore[union-attr]


def _replaced(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    found = error.object[error.start : error.end]
    plain = (_PLAIN.get(one, one.encode("ascii", "backslashreplace").decode()) for one in found)
    return "".join(plain), error.end


def printable(text: str) -> str:
    """Return a text in which a terminal finds no commands: names may come from anywhere.

    Control characters, but for tabs and line ends, are written as a backslash, x and their number.
    """
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


_LONGEST = 2000
"""Characters of a note or an error at most."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


_quiet = False


def be_quiet() -> None:
    """Let this process print no notes: another one says the same."""
    global _quiet
    _quiet = True


def say(text: str, *, always: bool = False) -> None:
    """Print a note or an error to standard error, if there is one.

    What is very long, as where it repeats a name or a value of a stranger, is cut in its middle.

    Args:
        text: The note.
        always: Print it also in a process that is quiet.
    """
    if _quiet and not always:
        return
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 2]} [...] {text[-_LONGEST // 2 :]}"
    with suppress(OSError, ValueError):
        print(printable(text), file=sys.stderr)


@contextmanager
def printing(saved: Path | None = None) -> Iterator[None]:
    """Print the result of work that is done; say where it is kept if it can't be printed.

    Args:
        saved: Where the result was saved.

    Raises:
        InvalidInputError: Standard output can't be written.
        StoppedError: Ctrl-C or SIGTERM came when the result was saved.
    """
    try:
        yield
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt:
        if saved is None:
            raise
        raise StoppedError(f"what was to be printed is saved in {saved}") from None
    except OSError as error:
        silence(sys.stdout)
        kept = "" if saved is None else f"; what was to be printed is saved in {saved}"
        reason = error.strerror or str(error)
        raise InvalidInputError(f"standard output can't be written: {reason}{kept}") from None


def silence(stream: object) -> None:
    """Send what is left in a stream's buffer nowhere, so that its end raises nothing."""
    with suppress(AttributeError, OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # type: ignore[attr-defined]
