"""Names of files and of columns: what they say, and what is wrong with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from jointrain.errors import InvalidInputError, closest

SEPARATORS = {".csv": ",", ".tsv": "\t", ".csv.gz": ",", ".tsv.gz": "\t"}
ARROW_ENDINGS = (".arrow", ".feather", ".ipc")
KNOWN_ENDINGS = (*SEPARATORS, ".parquet", *ARROW_ENDINGS)


def ending_of(path: Path) -> str | None:
    """Return the known ending of a file's name, None if it has none."""
    name = path.name.lower()
    return next((ending for ending in KNOWN_ENDINGS if name.endswith(ending)), None)


def check_is_file(path: Path) -> None:
    """Refuse what is no file, with the closest name in its folder."""
    if path.is_dir():
        raise InvalidInputError(f"{path} is a folder; name a file in it")
    if path.exists():
        return
    folder = path.parent
    if not folder.is_dir():
        raise InvalidInputError(f"{path} does not exist: there is no folder {folder}")
    try:
        hint = closest(path.name, [entry.name for entry in folder.iterdir() if entry.is_file()])
    except OSError:
        hint = ""
    raise InvalidInputError(f"{path} does not exist{hint or '; check the name and the folder'}")


def check_names(names: Sequence[str], where: str) -> None:
    """Refuse column names that occur more than once."""
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        shown = ", ".join(repr(name) for name in repeated[:5])
        more = f" and {len(repeated) - 5} more" if len(repeated) > 5 else ""
        raise InvalidInputError(
            f"{where} names column {shown}{more} more than once; give each column its own name"
        )
