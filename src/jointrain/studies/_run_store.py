"""Store of a study's finished runs, in a folder or a database, shared by all who work on it."""

from __future__ import annotations

import base64
import json
import os
import platform
import re
import sys
import time
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import numpy as np

from jointrain.errors import InvalidInputError, MissingDependencyError
from jointrain.system.database_address import without_password
from jointrain.system.output_folder import RUNS
from jointrain.system.stored_files import MISFIT, check_holes

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial, TrialState

_STUDY = "jointrain"
_TIMEOUT = 60.0
"""Seconds after which a claim that is not renewed is void."""
_ALWAYS_ALLOWED = 1 << 26
"""Bytes that any packed array may grow to."""
_LARGEST_RATIO = 100
"""Bytes that a larger one may grow to, for each of its packed bytes."""


class RunStore:
    """Finished runs of one study and claims to those under way, each by its key.

    A claim is an Optuna trial; of several claims to one run, the one with the lowest number counts.
    It ends with the run's result, which never changes afterwards; where a run was tried again, the
    last result counts. Whoever holds a claim renews it while `session` lasts; a claim that is not
    renewed any more is void, and the run is free again.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store = RunStore.open(folder, {"folds": 5})
        ...     with store.session():
        ...         key = store.claim(["first", "second"])
        ...         store.finish(key, [1.5])
        ...     store.finished(["first", "second"])
        {'first': [1.5]}
    """

    def __init__(self, place: str, storage: BaseStorage, study: int, timeout: float) -> None:
        self.place = place
        self.timeout = timeout
        self._storage = storage
        self._study = study
        self._claims: dict[str, int] = {}
        self._beats: dict[int, tuple[object, float]] = {}
        self._old: dict[str, set[int]] = {}
        self._forgotten: set[int] = set()

    @property
    def poll_seconds(self) -> float:
        """How often to look for what others have finished."""
        return min(1.0, self.timeout / 4)

    @classmethod
    def open(
        cls,
        place: str | Path,
        description: Mapping[str, object],
        *,
        free: Collection[str] = (),
        timeout: float = _TIMEOUT,
    ) -> RunStore:
        """Open the store of a study, or make it.

        Args:
            place: A folder, or the URL of a database: ``postgresql://user:password@host/name``,
                ``sqlite:///file``.
            description: All that the results depend on (data, recipes, folds, seeds), as values
                that JSON can hold; kept with the results.
            free: Keys of the description that may differ from what the store was made with.
            timeout: Seconds after which a claim that is not renewed is void; default 60.

        Raises:
            InvalidInputError: The place can't be reached or written, or holds another study.
            MissingDependencyError: The package that talks to the database is not installed.
        """
        import optuna

        name = without_password(str(place))
        with quiet_optuna(), _one_line_errors(name, reading=True):
            _check_place(str(place), name)
            storage = _connect(str(place))
            try:
                study = storage.create_new_study([optuna.study.StudyDirection.MINIMIZE], _STUDY)
            except optuna.exceptions.DuplicatedStudyError:
                study = storage.get_study_id_from_name(_STUDY)
            store = cls(name, storage, study, timeout)
            there = store._description(description)
        here = json.loads(_to_json(description))
        kept, given = (
            {key: value for key, value in content.items() if key not in free}
            for content in (there, here)
        )
        differences = list(_differences(kept, given))
        if differences:
            raise InvalidInputError(
                f"{name} holds the runs of another study: {'; '.join(differences[:5])}; choose "
                "another place, or give the data and settings that it was made with"
            )
        if store.descriptions()[-1] != here:
            store._add("COMPLETE", {"description": _to_json(description)})
        for trial in store._trials():
            if _done(trial):
                store._old.setdefault(trial.user_attrs["key"], set()).add(trial._trial_id)
        return store

    @classmethod
    def existing(cls, place: str | Path) -> RunStore:
        """Return the store that is at a place, to be read: others may be at work on it.

        Args:
            place: As in `open`.

        Raises:
            InvalidInputError: The place holds no runs of a study, or can't be read.
        """
        name = without_password(str(place))
        with quiet_optuna(), _one_line_errors(name, reading=True):
            _check_place(str(place), name)
            _check_there(str(place), name)
            storage = _connect(str(place))
            try:
                study = storage.get_study_id_from_name(_STUDY)
            except KeyError:
                raise _no_runs(name) from None
            return cls(name, storage, study, _TIMEOUT)

    def kept(self) -> tuple[dict[str, Any], list[Any], int]:
        """Return the newest description, the results of all finished runs, and open claims.

        Raises:
            InvalidInputError: It is no study that jointrain made, or can't be read any more.
        """
        found = self.descriptions()[-1]
        trials = self._trials()
        results = {t.user_attrs["key"]: t.user_attrs["result"] for t in trials if _done(t)}
        open_claims = (t.user_attrs for t in trials if not _done(t))
        claims = {one["key"] for one in open_claims if not _has_ended(one["worker"])}
        claims -= results.keys()
        return found, [self._read(key, text) for key, text in results.items()], len(claims)

    def descriptions(self) -> list[dict[str, Any]]:
        """Return how the study was described each time that something in it was new.

        Raises:
            InvalidInputError: It is no study that jointrain made, or can't be read any more.
        """
        with _one_line_errors(self.place, reading=True):
            found = [json.loads(text) for text in self._descriptions()]
        if not found or not all(isinstance(one, dict) for one in found):
            raise _no_runs(self.place)
        return found

    def is_old(self, key: str) -> bool:
        """Return whether a run was finished when the store was opened."""
        return key in self._old

    def try_again(self, keys: Iterable[str]) -> None:
        """Take runs as not finished that were when the store was opened; nothing is removed."""
        for key in keys:
            self._forgotten |= self._old.pop(key, set())

    @contextmanager
    def session(self) -> Iterator[None]:
        """Renew the claims while the block runs, and give back at its end what is not finished."""
        stopped = Event()
        thread = Thread(target=self._renew_claims, args=(stopped,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()
            for trial in self._claims.values():
                # not worth an error: a claim that is not given back is void after a while
                with suppress(Exception):
                    self._end(trial, "FAIL")
            self._claims.clear()

    def finished(self, keys: Iterable[str]) -> dict[str, Any]:
        """Return the results of those of the runs that are finished."""
        results = {t.user_attrs["key"]: t.user_attrs["result"] for t in self._trials() if _done(t)}
        return {key: self._read(key, results[key]) for key in keys if key in results}

    def _read(self, key: str, text: Any) -> Any:
        """Return a result; it may come from a stranger, and no code in it is run."""
        try:
            return json.loads(text, object_hook=_array_from_json)
        except (*MISFIT, RecursionError, zlib.error):
            raise InvalidInputError(
                f"{self.place} holds a result of {key!r} that jointrain did not write; choose "
                "another place, or remove it"
            ) from None

    def claim(self, keys: Iterable[str]) -> str | None:
        """Claim the first of the runs that is neither finished nor claimed, and return its key."""
        holders = self._holders()
        for key in keys:
            # a run of this process whose claim was found void goes on
            if key in holders or key in self._claims:
                continue
            worker = f"{_own_place()}:{os.getpid()}:{_start_of(os.getpid())}"
            trial = self._add("RUNNING", {"key": key, "worker": worker, "heartbeat": 0})
            holders = self._holders()
            if holders.get(key) == trial:
                self._claims[key] = trial
                return key
            self._end(trial, "FAIL")
        return None

    def finish(self, key: str, value: Any) -> None:
        """Keep the result of a claimed run, unless the claim was found void in the meantime.

        Args:
            key: The run.
            value: What JSON can hold, and numpy arrays of numbers.
        """
        from optuna.exceptions import UpdateFinishedTrialError

        trial, text = self._claims[key], _to_json(value)
        with suppress(UpdateFinishedTrialError), _one_line_errors(self.place):
            self._storage.set_trial_user_attr(trial, "result", text)
        self._end(trial, "COMPLETE")
        self._claims.pop(key, None)

    def _renew_claims(self, stopped: Event) -> None:
        beat = 0
        while not stopped.wait(self.timeout / 4):
            beat += 1
            for trial in list(self._claims.values()):
                # finished by now, or no answer: then the thread that runs the study will see it
                with suppress(Exception):
                    self._storage.set_trial_user_attr(trial, "heartbeat", beat)

    def _holders(self) -> dict[str, int]:
        """Return the trial that finished each run, or holds the claim to it, by key."""
        holders: dict[str, int] = {}
        for trial in sorted(self._trials(), key=lambda trial: (not _done(trial), trial.number)):
            key = trial.user_attrs["key"]
            if key not in holders and (_done(trial) or not self._is_void(trial)):
                holders[key] = trial._trial_id
        return holders

    def _is_void(self, trial: FrozenTrial) -> bool:
        """Return whether nobody renews a claim, and end it then.

        What counts is how long it is seen unchanged from here: clocks of machines differ.
        """
        number, beat, now = trial._trial_id, trial.user_attrs["heartbeat"], time.monotonic()
        seen, since = self._beats.get(number, (None, now))
        if seen != beat:
            self._beats[number] = (beat, now)
            since = now
        silent = now - since > self.timeout or _has_ended(trial.user_attrs["worker"])
        if number in self._claims.values() or not silent:
            return False
        self._end(number, "FAIL")
        return True

    def _description(self, description: Mapping[str, object]) -> dict[str, Any]:
        """Return the description that the store was made with: the first one that was added.

        It is a trial, not an attribute of the study: of two who make the store at the same time,
        both see which one was first.
        """
        import optuna

        for _ in range(2):
            first = next(iter(self._descriptions()), None)
            if first is not None:
                return dict(json.loads(first))
            self._add("COMPLETE", {"description": _to_json(description)})
        raise optuna.exceptions.StorageInternalError("what was written can't be read")

    def _descriptions(self) -> list[str]:
        """Return the descriptions in the order in which they were added, as they are stored."""
        trials = self._storage.get_all_trials(self._study, deepcopy=False)
        attributes = [t.user_attrs for t in sorted(trials, key=lambda trial: trial.number)]
        return [
            one["description"]
            for one in attributes
            if isinstance(one, dict) and "description" in one
        ]

    def _trials(self) -> list[FrozenTrial]:
        from optuna.trial import TrialState

        states = (TrialState.RUNNING, TrialState.COMPLETE)
        with _one_line_errors(self.place, reading=True):
            trials = self._storage.get_all_trials(self._study, deepcopy=False, states=states)
        return [t for t in trials if _is_run(t) and t._trial_id not in self._forgotten]

    def _add(self, state: str, attributes: dict[str, Any]) -> int:
        import optuna

        kind: TrialState = optuna.trial.TrialState[state]
        values = [0.0] if kind.is_finished() else None
        trial = optuna.trial.create_trial(state=kind, values=values, user_attrs=attributes)
        with _one_line_errors(self.place):
            return self._storage.create_new_trial(self._study, trial)

    def _end(self, trial: int, state: str) -> None:
        """Set the state of a claim, unless somebody has ended it."""
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        values = [0.0] if state == "COMPLETE" else None
        with suppress(UpdateFinishedTrialError), _one_line_errors(self.place):
            self._storage.set_trial_state_values(trial, TrialState[state], values)


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Let Optuna say nothing of what it makes while the block runs."""
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(verbosity)


def _is_run(trial: FrozenTrial) -> bool:
    """Return whether a trial is a claim or a result, and no other program's."""
    values = trial.user_attrs
    if not isinstance(values, dict) or not isinstance(values.get("key"), str):
        return False
    if _done(trial):
        return isinstance(values.get("result"), str)
    return isinstance(values.get("worker"), str) and "heartbeat" in values


def _done(trial: FrozenTrial) -> bool:
    return trial.state.is_finished()


def _own_place() -> str:
    """Return where the number of a process says which it is; "" where that is not known.

    Containers may share the name of a machine, and each has a process 1.
    """
    if sys.platform != "linux":
        return platform.node()
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        space = os.readlink("/proc/self/ns/pid").strip("pid:[]")
    except OSError:
        return ""
    return f"{platform.node()} {boot} {space}"


def _start_of(process: int) -> str:
    """Return when a process began, as the system counts it; "" where it does not say."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _has_ended(worker: str) -> bool:
    """Return whether a worker was a process of this machine that is there no more."""
    # older versions wrote no start: nothing is known of these
    place, _, rest = worker.partition(":")
    process, told, start = rest.partition(":")
    if os.name != "posix" or not told or not place or place != _own_place():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, ValueError, OverflowError):  # another's, or no number
        return False
    # another process may have its number by now
    return "" not in (start, _start_of(int(process))) and start != _start_of(int(process))


def _to_json(value: Any) -> str:
    return json.dumps(value, default=_array_to_json)


def _array_to_json(value: Any) -> object:
    if isinstance(value, np.generic):
        return value.item()
    if not isinstance(value, np.ndarray) or value.dtype.hasobject:
        raise TypeError(f"a run's result can't hold a value of type {type(value).__name__}")
    content = base64.b64encode(zlib.compress(value.tobytes())).decode()
    return {"array": content, "dtype": value.dtype.str, "shape": value.shape}


def _array_from_json(value: dict[str, Any]) -> object:
    if value.keys() != {"array", "dtype", "shape"}:
        return value
    packed, dtype = base64.b64decode(value["array"]), np.dtype(str(value["dtype"]))
    if dtype.kind not in "biuf":
        raise ValueError("an array of no numbers")
    limit = max(_ALWAYS_ALLOWED, _LARGEST_RATIO * len(packed))
    unpacked = zlib.decompressobj()
    content = bytearray(unpacked.decompress(packed, limit))
    if not unpacked.eof:
        raise ValueError("an array is cut, or grows out of all proportion")
    return np.frombuffer(content, dtype).reshape(value["shape"])


def _differences(there: object, here: object, name: str = "") -> Iterator[str]:
    """Yield in words where two descriptions differ."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in [*there, *(key for key in here if key not in there)]:
            inner = f"{name}.{key}" if name else str(key)
            yield from _differences(there.get(key), here.get(key), inner)
    elif there is None and isinstance(here, dict):
        yield f"{name} is not there"
    elif here is None and isinstance(there, dict):
        yield f"{name} is there alone"
    elif there != here:
        shown = [
            text if len(text) <= 40 else text[:37] + "..." for text in map(repr, (there, here))
        ]
        yield f"{name} is {shown[0]} there and {shown[1]} here"


_ATTEMPTS = 8


def _connect(place: str) -> BaseStorage:
    """Return Optuna's storage for a folder or the URL of a database."""
    from optuna.storages import JournalStorage, RDBStorage, get_storage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
    from sqlalchemy.exc import IntegrityError, SQLAlchemyError

    class CuttingLock(JournalFileOpenLock):
        """Lock of the journal; cuts off what a killed process had not written to the end."""

        def acquire(self) -> bool:
            super().acquire()
            with open(path, "r+b") as journal:
                size = journal.seek(0, os.SEEK_END)
                journal.seek(max(size - 1, 0))
                if journal.read() not in (b"", b"\n"):
                    journal.seek(0)
                    journal.truncate(journal.read().rfind(b"\n") + 1)
            return True

    if "://" not in place:
        Path(place).mkdir(parents=True, exist_ok=True)
        path = str(Path(place) / RUNS)
        _check_journal(path)
        return JournalStorage(JournalFileBackend(path, lock_obj=CuttingLock(path)))
    url = _driver_url(place)
    arguments = _engine_arguments(url)
    for attempt in range(_ATTEMPTS):
        try:
            return get_storage(RDBStorage(url, arguments))
        except SQLAlchemyError as error:
            # somebody else makes the same tables at this moment
            made = isinstance(error, IntegrityError) or "already exists" in str(error)
            if not made or attempt == _ATTEMPTS - 1:
                raise
            time.sleep(0.1 * (attempt + 1))
    raise AssertionError


_OF_SQLITE = ("timeout", "isolation_level", "detect_types", "check_same_thread")
"""What may follow the `?` of its URL; anything else would be part of a file's name, and lost."""


def _check_place(place: str, name: str) -> None:
    """Refuse a place that would keep nothing, or another one than it names.

    Raises:
        InvalidInputError: It is such a place.
    """
    from sqlalchemy import make_url

    if not place.strip():
        raise InvalidInputError("the place of the runs has no name; give a folder or a database")
    if not place.startswith("sqlite") or "://" not in place:
        return
    before, _, said = place.partition("?")
    unknown = [part for part in said.split("&") if part.partition("=")[0] not in _OF_SQLITE]
    if "?" in place and unknown:
        raise InvalidInputError(
            f"{name} says {unknown[0]!r}, which nothing here understands; the name of a database's "
            "file can't hold a ?"
        )
    if make_url(before).database in (None, "", ":memory:"):
        raise InvalidInputError(f"{name} names no file that keeps the runs; write sqlite:///FILE")


def _check_journal(path: str) -> None:
    """Refuse what is no file, or takes memory as large as it says it is."""
    if not os.path.lexists(path):
        return
    if not os.path.isfile(path):
        raise InvalidInputError(f"{path} is no regular file; choose another place")
    check_holes(Path(path))


def _no_runs(name: str) -> InvalidInputError:
    return InvalidInputError(f"{name} holds no runs of a study that jointrain made")


def _check_there(place: str, name: str) -> None:
    """Refuse a place without a store: to connect would make one.

    Raises:
        InvalidInputError: There is none.
    """
    from sqlalchemy import create_engine, inspect, make_url

    if "://" not in place:
        if not (Path(place) / RUNS).is_file():
            raise _no_runs(name)
        return
    url = _driver_url(place)
    file = make_url(url).database if url.startswith("sqlite") else None
    if file is not None and not Path(file).is_file():
        raise InvalidInputError(f"there is no file {file}; name the database of a --study")
    engine = create_engine(url, **_engine_arguments(url))
    try:
        if not inspect(engine).has_table("studies"):
            raise _no_runs(name)
    finally:
        engine.dispose()


def _engine_arguments(url: str) -> dict[str, Any]:
    """Return how long a database is waited for, unless its URL says so, and the like."""
    if url.startswith("postgresql"):
        said = "connect_timeout=" in url or "PGCONNECT_TIMEOUT" in os.environ
        return {"connect_args": {} if said else {"connect_timeout": 10}, "pool_pre_ping": True}
    return {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}


def _driver_url(place: str) -> str:
    """Return the URL of a database with the driver that is used here."""
    return re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", place)


@contextmanager
def _one_line_errors(place: str, *, reading: bool = False) -> Iterator[None]:
    """Say in one line what is wrong with a storage.

    Args:
        place: Its name, without the password.
        reading: Whether what it holds is read, which may make no sense.
    """
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    senseless = (*MISFIT, AssertionError, RuntimeError) if reading else ()
    try:
        yield
    except InvalidInputError:
        raise
    except ImportError as error:
        raise MissingDependencyError(
            f"the database {place} needs a package that is not installed "
            f"({_reason(error)}); for PostgreSQL: pip install 'jointrain[postgresql]'"
        ) from error
    except (SQLAlchemyError, StorageInternalError) as error:
        raise InvalidInputError(
            f"the database {place} does not answer as it should ({_reason(error)}); check its "
            "address, name, user and password, and that it runs; finished runs are kept"
        ) from error
    except OSError as error:
        raise InvalidInputError(
            f"can't read or write the runs of the study in {place} ({_reason(error)}); choose a "
            "folder that can be written"
        ) from error
    except senseless as error:
        what = f" ({_reason(error)})" if "://" in place else f": {_damage(place)}"
        raise InvalidInputError(
            f"{place} holds no runs that this version can read{what}; put a copy of it "
            "back, choose another place, or remove it to make the runs again"
        ) from error


def _damage(place: str) -> str:
    """Return which line of a journal is none, if one looks so."""
    with open(Path(place) / RUNS, "rb") as journal:
        for number, line in enumerate(journal, start=1):
            try:
                known = isinstance(json.loads(line)["op_code"], int)
            except (*MISFIT, RecursionError):
                known = False
            if not known:
                return f"line {number} of its {RUNS} is damaged"
    return f"the lines of its {RUNS} do not fit together"


def _reason(error: BaseException) -> str:
    """Return the first line of what the innermost library says."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
