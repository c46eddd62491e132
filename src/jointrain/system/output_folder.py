"""Folders that commands write: whole or absent, and nothing of the user's is ever deleted."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from jointrain.errors import InvalidInputError
from jointrain.system.stored_files import DamagedError, read_json
from jointrain.system.terminal_streams import say

ANSWER = "jointrain-answer.json"
"""The file by which the folder of a search is known."""

BUNDLE = "bundle.json"
"""The file by which a bundle is known."""

RUNS = "runs.jsonl"
"""The file by which the runs of a study are known."""

_OWN_NAMES = (
    "results.parquet", "report.html", "report.json", "report.md", "changes.png",
    "affinity.parquet", "affinity.png", ANSWER,
)  # fmt: skip
_OWN_IN_BUNDLE = (BUNDLE, "weights.safetensors", "encoder.safetensors")
_OWN_IN_COMPONENT = re.compile(
    r"components/\d+/(bundle\.json|baseline\.json|encoder\.json|[a-z]+\.safetensors)"
)
"""What a blend may list of its own; a stranger's may list any file."""
_LOCK = ".lock"
_OLD = "old-"
_STALE_SECONDS = 3600
"""A temporary folder is without a lock for the moment before it is renamed only."""


def write_new_folder(
    path: str | Path,
    write: Callable[[Path], object],
    *,
    force: bool = False,
    elsewhere: bool = False,
) -> Path:
    """Write a folder under a temporary name and rename it, so that it is whole or absent.

    Temporary folders that a killed process left are removed.

    Args:
        path: The folder to make.
        write: Fills the folder that it is called with.
        force: Replace a folder that jointrain wrote.
        elsewhere: Where the folder can't become `path` any more (something appeared there in the
            meantime, or it can't be written), put it beside, or else into the folder for temporary
            files or the home folder, and say so: hours of work may be in it. Default: raise.

    Returns:
        Where the folder is.

    Raises:
        InvalidInputError: `path` may not be replaced, or no place can be written.
    """
    target = Path(path)
    reason = _why_not(target, force=force)
    if reason is not None and not elsewhere:
        raise InvalidInputError(reason)
    places = [target]
    if elsewhere:
        places += [Path(tempfile.gettempdir()) / target.name]
        with suppress(RuntimeError):  # nobody has a home in some containers
            places += [Path.home() / target.name]
    for place in places:
        try:
            made = _write(place, write, force=force, elsewhere=elsewhere)
        except OSError as error:
            reason = f"{place} can't be written: {error.strerror or error}"
            if place is not places[-1]:
                say(f"note: {_one_line(reason)}; trying another place")
            continue
        if made != target:
            reason = reason or f"{target} exists by now"
            say(f"note: {_one_line(reason)}; the result is in {made}")
        return made
    raise InvalidInputError(f"{reason}; choose another --out")


def check_new_folder(path: str | Path, *, force: bool = False) -> None:
    """Refuse a folder that exists, before any work is done.

    With `force`, an existing folder is accepted only if it holds nothing but what jointrain wrote,
    so that a slip of the hand never deletes anything else.

    Raises:
        InvalidInputError: The path exists and may not be replaced, or its name can't be used.
    """
    reason = _why_not(Path(path), force=force)
    if reason is not None:
        raise InvalidInputError(reason)


def _why_not(target: Path, *, force: bool) -> str | None:
    """Return why a folder may not be made or replaced, None if it may."""
    try:
        if not os.path.lexists(target):
            return _why_not_made(target)
        if target.is_symlink() and not target.exists():
            return f"{target} is a link to nowhere; remove it or choose another --out"
        if not force:
            return f"{target} exists; choose another --out or replace it with --force"
        if (reason := _why_not_made(target)) is not None:
            return reason
        if not target.is_dir():
            return f"{target} is a file; choose another --out"
        foreign = next(_foreign_files(target), None)
    except OSError as error:
        return f"{target} can't be used: {error.strerror or error}; choose another --out"
    except ValueError:  # half of a character, or a zero
        return f"{target} can't be used: no file has such a name; choose another --out"
    if foreign is not None:
        return (
            f"{target} holds {foreign.relative_to(target).as_posix()!r}, which jointrain did not "
            "write; move it away or choose another --out"
        )
    return None


def _why_not_made(target: Path) -> str | None:
    """Return why nothing can be put at a path, None if something can."""
    parent = target.absolute().parent
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    os.fsencode(target)
    with suppress(FileNotFoundError, NotADirectoryError):
        os.stat(parent / target.name)  # a name that is too long is said at once
    if not parent.is_dir():
        return f"{target} can't be made: {parent} is no folder; choose another --out"
    if not os.access(parent, os.W_OK | os.X_OK):
        return f"{target} can't be made: {parent} can't be written; choose another --out"
    return None


def _foreign_files(folder: Path) -> Iterator[Path]:
    """Yield what jointrain did not write."""
    own = {folder / name for name in _OWN_NAMES} | {folder / _LOCK}
    for bundle in (folder, folder / "bundle"):
        own |= _bundle_files(bundle)
    for place, folders, files in os.walk(folder):
        for name in files:
            if Path(place, name) not in own:
                yield Path(place, name)
        for name in folders:
            if Path(place, name).is_symlink():
                yield Path(place, name)


def _bundle_files(bundle: Path) -> set[Path]:
    """Return the files of a bundle: those that every one has, and those that it lists."""
    if not (bundle / BUNDLE).is_file():
        return set()
    own = {bundle / name for name in _OWN_IN_BUNDLE}
    # of a damaged bundle, what it does not list is not known to be jointrain's
    with suppress(DamagedError, KeyError, TypeError, OSError):
        listed = read_json(bundle / BUNDLE, folder=bundle)["digests"]
        own |= {bundle / name for name in listed if _OWN_IN_COMPONENT.fullmatch(name)}
    return own


def _write(target: Path, write: Callable[[Path], object], *, force: bool, elsewhere: bool) -> Path:
    parent = target.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(parent, target.name)
    temporary = Path(tempfile.mkdtemp(prefix=_prefix(target.name), dir=parent))
    lock = FileLock(temporary / _LOCK)
    try:
        with lock:
            write(temporary)
        (temporary / _LOCK).unlink(missing_ok=True)
        temporary.chmod(0o777 & ~_umask())
        if force and _replaceable(target):
            return _replace(temporary, target)
        made = target
        for number in range(2, 1000):
            if _rename_to_free(temporary, made):
                return made
            if not elsewhere:
                raise InvalidInputError(f"{target} exists by now; choose another --out")
            made = target.with_name(f"{target.name}-{number}")
        raise InvalidInputError(f"{target} and its neighbours exist; choose another --out")
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _rename_to_free(temporary: Path, target: Path) -> bool:
    """Rename a folder to a name that nothing has, or an empty folder; return whether it had not.

    The system refuses to rename over anything else, so what appears in between is not deleted.
    """
    if os.path.lexists(target) and not (target.is_dir() and not target.is_symlink()):
        return False
    try:
        temporary.rename(target)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            return False
        raise
    return True


def _replaceable(target: Path) -> bool:
    return (
        target.is_dir() and not target.is_symlink() and next(_foreign_files(target), None) is None
    )


def _replace(temporary: Path, target: Path) -> Path:
    """Put a folder in the place of one that jointrain wrote; on a fault the old one stays."""
    parent = target.absolute().parent
    old = Path(tempfile.mkdtemp(prefix=_prefix(target.name) + _OLD, dir=parent))
    try:
        os.replace(target, old / target.name)
        os.replace(temporary, target)
    except BaseException:  # Ctrl-C, too, at any place
        if not os.path.lexists(target):
            os.replace(old / target.name, target)
        raise
    finally:
        if os.path.lexists(target):
            _remove_own(old, target)
    return target


def _remove_own(old: Path, target: Path) -> None:
    """Remove a folder that was replaced; with anything of the user's in it, it is kept."""
    foreign = None
    if (old / target.name).exists():
        foreign = next(_foreign_files(old / target.name), None)
    if foreign is None:
        shutil.rmtree(old, ignore_errors=True)
    else:
        say(f"note: {foreign} is not jointrain's and was kept there")


def _prefix(name: str) -> str:
    # names of 255 bytes are the longest that file systems take; one need not be UTF-8
    short = name[:150]
    while len(os.fsencode(short)) > 150:
        short = short[:-1]
    return f".{short}.jointrain-"


def _remove_stale(parent: Path, name: str) -> None:
    """Clear up after killed processes: nobody holds the lock of their temporary folders.

    A folder that one was about to replace when it was killed is put back.
    """
    prefix = re.escape(_prefix(name))
    for folder in list(parent.iterdir()):
        if re.fullmatch(prefix + re.escape(_OLD) + r"\w{8}", folder.name):
            with suppress(OSError):
                if not os.path.lexists(parent / name):
                    os.replace(folder / name, parent / name)
                _remove_own(folder, parent / name)
        elif re.fullmatch(prefix + r"\w{8}", folder.name):
            with suppress(Timeout, OSError):
                if (folder / _LOCK).exists():
                    with FileLock(folder / _LOCK, timeout=0):
                        shutil.rmtree(folder, ignore_errors=True)
                elif time.time() - folder.stat().st_mtime > _STALE_SECONDS:
                    shutil.rmtree(folder, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _one_line(text: str) -> str:
    return " ".join(text.split())
