"""Ranks: the processes that train one network together, each on its part of every batch."""

from __future__ import annotations

import atexit
import os
import platform
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cache, cached_property
from itertools import count
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import torch
from torch import Tensor, distributed, nn

from jointrain.balancing import TaskLosses
from jointrain.balancing.engine import add_to_grad, explained, ranks_of, sum_over_copies
from jointrain.errors import InvalidInputError, RankFailedError, closest
from jointrain.system.terminal_streams import say
from jointrain.task import Task
from jointrain.training._losses import label_counts
from jointrain.training.sampling import Batch, RowShare

T = TypeVar("T")

Strategy = Literal["ddp", "fsdp", "alone"]
"""``ddp``: all processes train copies of one network; ``fsdp``: each holds a part of one;
``alone``: each process trains a network of its own, on all rows."""

PATIENCE = timedelta(seconds=50)
"""How long a process waits for the others until it gives up."""

_LOST = (
    "Connection closed by peer", "Connection reset by peer", "Timed out waiting", "pair closure",
    "gloo",
)  # fmt: skip
"""What errors of torch say when another process is gone."""

_FAILED, _THERE, _PLACE = "failed/", "there/", "place/"
"""Keys under which processes tell each other of failures, with their numbers."""

_MADE = count()

_FIRST_LOOK, _LOOK = 0.01, 5.0
"""Seconds after which it is looked whether the first process is done, at first and later."""

_ANSWER = 5.0
"""Seconds in which processes say that they are there when another one has failed."""

_LAUNCHED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class TrainingRanks:
    """The processes of the default group of torch.distributed, as a trainer needs them.

    All methods that send are collective: every process calls them in the same order.

    Attributes:
        rank: The number of this process, from 0.
        size: How many there are.
        flags: Gives flags of this process, which are told to all of them with a step's losses;
            None (default) if nothing is to be told so.
        told: Which of those are set on some process, once the losses of a step have come; None
            before.
    """

    def __init__(self) -> None:
        group = distributed.group.WORLD
        assert group is not None
        self._ranks = ranks_of(group)
        self.rank, self.size = self._ranks.rank, self._ranks.size
        self.flags: Callable[[], Sequence[bool]] | None = None
        self.told: list[bool] | None = None
        # every process makes as many of these; keys are of one alone
        self._store = distributed.PrefixStore(  # type: ignore[attr-defined]
            f"jointrain/{next(_MADE)}", _store_of_group()
        )
        self._store.set(f"{_PLACE}{self.rank}", f"{os.getpid()} {platform.node()}")

    @property
    def share(self) -> RowShare:
        """The part of every batch that this process takes."""
        return RowShare(self.rank, self.size)

    def add_up(self, numbers: Tensor) -> Tensor:
        """Return the sum of a small tensor over the processes, on its device."""
        return self._ranks.add_up(numbers)

    def from_first(self, value: T) -> T:
        """Return what the first process gives."""
        return self._ranks.from_first(value)

    def start_adding(self, numbers: Tensor) -> Callable[[], Tensor]:
        """Begin to add a small tensor up over the processes; return what waits for the sum."""
        return self._ranks.start_adding(numbers)

    def any(self, flags: Sequence[bool]) -> list[bool]:
        """Return which of the flags are set on some process."""
        total = self.add_up(torch.tensor(flags, dtype=torch.float32))
        return [bool(count) for count in total.tolist()]

    def first_does(self, action: Callable[[], T]) -> T | None:
        """Let the first process do something while the others wait; return there what it gave.

        The others hear of it meanwhile, so that it may take longer than they would wait for a
        process that says nothing.

        Raises:
            InvalidInputError: The first process could not, for the same reason.
        """
        with ThreadPoolExecutor(1) as pool:
            working = pool.submit(action) if self.rank == 0 else None
            pause = _FIRST_LOOK
            while self.any([working is not None and not working.done()])[0]:
                if working is not None:
                    wait([working], timeout=pause)
                pause = min(2 * pause, _LOOK)
        error = None
        if working is not None and isinstance(working.exception(), InvalidInputError):
            error = str(working.exception())
        reason = self.from_first(error)
        if reason is not None:
            raise InvalidInputError(reason)
        return None if working is None else working.result()

    def written(self, write: Callable[[], Mapping[str, str]]) -> tuple[dict[str, str], str | None]:
        """Let every process write files; return all their checksums by name, and what failed."""
        found: Mapping[str, str] = {}
        error = None
        try:
            found = write()
        except OSError as reason:
            error = reason.strerror or str(reason)
        every = self._ranks.gather_objects((dict(found), error))
        errors = [of_one for _, of_one in every if of_one is not None]
        digests = {name: value for files, _ in every for name, value in files.items()}
        return digests, errors[0] if errors else None

    @contextmanager
    def explaining(self) -> Iterator[None]:
        """Say in words which process has failed, where torch says that a connection is closed.

        Raises:
            RankFailedError: Another process has failed, or does not answer.
        """
        try:
            yield
        except Exception as error:
            lost = isinstance(error, distributed.DistError) or (
                isinstance(error, RuntimeError) and any(word in str(error) for word in _LOST)
            )
            if not lost:
                first = (str(error) or type(error).__name__).splitlines()[0]
                with suppress(Exception):
                    self._store.set(f"{_FAILED}{self.rank}", first)
                raise
            message = self._what_happened()
            # torchrun ends this process before an exception is printed
            say(f"rank {self.rank}: {message}")
            raise RankFailedError(message) from error

    def _what_happened(self) -> str:
        """Return which processes have failed, and why."""
        others = [rank for rank in range(self.size) if rank != self.rank]
        silent = set(others)
        try:
            self._store.set(f"{_THERE}{self.rank}", "")
            end = time.monotonic() + _ANSWER
            while silent and time.monotonic() < end:
                for rank in others:
                    if self._store.check([f"{_FAILED}{rank}"]):
                        reason = self._store.get(f"{_FAILED}{rank}").decode()
                        return f"rank {rank} of {self.size} has failed: {reason}"
                silent = {r for r in silent if not self._store.check([f"{_THERE}{r}"])}
                time.sleep(0.1)
            silent = {rank for rank in silent if not self._waits_here(rank)} or silent
        except Exception:
            # what all of them meet at is held by the first one, where torchrun does not hold it
            silent = {0}
        gone = ", ".join(map(str, sorted(silent)))
        if not gone:
            return f"the connections between the {self.size} processes were lost"
        many = len(silent) > 1
        return (
            f"rank{'s' if many else ''} {gone} of {self.size} {'do' if many else 'does'} not "
            f"answer any more, and the run ends; what killed or stopped "
            f"{'them' if many else 'it'} stands in the log of that process or its machine"
        )

    def _waits_here(self, rank: int) -> bool:
        """Return whether a process runs on this machine: it has not heard of the failure yet."""
        number, machine = self._store.get(f"{_PLACE}{rank}").decode().split(" ", 1)
        if machine != platform.node():
            return False
        try:
            state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        return state not in "ZXT"  # dead, or stopped by a signal

    def check_alike(self, form: Any, message: str) -> None:
        """Refuse what is not the same on every process.

        Args:
            form: Says what it is here: plain values.
            message: What is said otherwise.

        Raises:
            InvalidInputError: Some process has another one than the first.
        """
        first = self.from_first(form)
        if self.any([first != form])[0]:
            raise InvalidInputError(message)

    @torch.no_grad()
    def make_alike(self, network: nn.Module) -> None:
        """Give every process the first one's weights and buffers.

        Raises:
            InvalidInputError: The networks are not of one form.
        """
        state = {**dict(network.named_parameters()), **dict(network.named_buffers())}
        form = [
            (name, str(value.dtype), value.requires_grad, *value.shape)
            for name, value in state.items()
        ]
        layers = re.sub("0x[0-9a-f]+", "", repr(network))  # addresses in memory say nothing
        self.check_alike(
            (form, layers),
            "the network of some process is another one than that of the first; let every "
            "process make the same network",
        )
        for value in state.values():
            distributed.broadcast(value, 0)

    @torch.no_grad()
    def average_buffers(self, network: nn.Module) -> None:
        """Set buffers of real numbers, such as running statistics, to their means."""
        found = [b for b in network.buffers() if b.is_floating_point() and b.numel()]
        if found:
            total = self.add_up(torch.cat([b.reshape(-1).double() for b in found]))
            parts = torch.split(total / self.size, [b.numel() for b in found])
            for buffer, part in zip(found, parts, strict=True):
                buffer.copy_(part.view_as(buffer))

    def over_all_rows(
        self, losses: Mapping[str, Tensor], rows: LabelledRows
    ) -> Callable[[], Mapping[str, Tensor]]:
        """Return what waits for the detached mean losses over the rows of all processes.

        Args:
            losses: The means over the rows here, by task.
            rows: How many labelled rows of each task there are.
        """
        names = tuple(losses)
        together = isinstance(losses, TaskLosses)
        values = (
            losses.together if isinstance(losses, TaskLosses) else torch.stack([*losses.values()])
        )
        here = torch.tensor([rows.here[n] for n in names], dtype=torch.float64)
        here = here.to(values.device)
        sums = values.detach().double() * here
        if not all(rows.here.values()):
            # a mean over no rows may be NaN
            sums = torch.where(here > 0, sums, 0.0)
        told = None if self.flags is None else sums.new_tensor([float(f) for f in self.flags()])
        adding = self.start_adding(sums if told is None else torch.cat([sums, told]))

        @cache
        def finish() -> Mapping[str, Tensor]:
            found = adding()
            number = found.new_tensor([max(rows.total[n], 1) for n in names])
            means = (found[: len(names)] / number).to(values.dtype)
            if told is not None:
                self.told = [bool(count) for count in found[len(names) :].tolist()]
            if together:
                return TaskLosses(names, means)
            return dict(zip(names, means.unbind(), strict=True))

        rows.losses = finish
        return finish

    def sum_gradients(
        self, losses: Sequence[Tensor], starts: Sequence[Tensor], parameters: Sequence[Tensor]
    ) -> None:
        """Fill the gradients of the losses' sum over the processes, see `sum_over_copies`."""
        with explained():
            add_to_grad(sum_over_copies(self._ranks, losses, starts, parameters))

    def scales(self, counts: Mapping[str, int]) -> dict[str, float]:
        """Return what each task's loss here is multiplied by so that processes count alike.

        Args:
            counts: How many labelled rows of each task are here.
        """
        here = torch.tensor([float(n) for n in counts.values()], dtype=torch.float64)
        found = here * self.size / self.add_up(here).clamp_min(1)
        return dict(zip(counts, found.tolist(), strict=True))

    def rows_of_parts(
        self, tasks: Mapping[str, Task], parts: Iterable[Sequence[Batch]]
    ) -> list[dict[str, float]]:
        """Return in how many rows of each part, on all processes, each task has a label."""
        here = [label_counts(tasks, part) for part in parts]
        flat = torch.tensor([float(n) for part in here for n in part.values()], dtype=torch.float64)
        numbers = iter(self.add_up(flat).tolist())
        return [{name: next(numbers) for name in part} for part in here]


class LabelledRows:
    """In how many rows of a step's batches each task has a label.

    Attributes:
        batches: The batches.
        here: The numbers of this process, by task.
        losses: Waits for the losses over the rows of all processes, once they have been sent and
            until they are taken.
    """

    def __init__(
        self, ranks: TrainingRanks, tasks: Mapping[str, Task], batches: Sequence[Batch]
    ) -> None:
        self.batches = batches
        self.here = label_counts(tasks, batches)
        self.losses: Callable[[], Mapping[str, Tensor]] | None = None
        self._adding: Callable[[], Tensor] | None = None
        if not all(_is_known(batch, ranks.size) for batch in batches):
            numbers = [float(n) for n in self.here.values()]
            self._adding = ranks.start_adding(torch.tensor(numbers, dtype=torch.float64))

    @cached_property
    def total(self) -> dict[str, float]:
        """The numbers of all processes, by task; waits for them where they had to be sent."""
        if self._adding is not None:
            return dict(zip(self.here, self._adding().tolist(), strict=True))
        return {
            name: float(batch.joined.total)
            for batch in self.batches
            for name in batch.tasks
            if batch.joined is not None
        }

    @property
    def missing(self) -> frozenset[str]:
        """The tasks that have no label on any process."""
        return frozenset(name for name, rows in self.total.items() if not rows)


def _is_known(batch: Batch, size: int) -> bool:
    """Return whether each process knows without asking that all rows of a batch have all labels."""
    joined = batch.joined
    # a process without rows of a piece has a row that stands for none, without labels
    return (
        joined is not None
        and all(batch.complete)
        and all(piece.rows >= size for piece in joined.pieces)
    )


def _place_in_attempt() -> dict[str, Any]:
    """Return where a process that torchrun started again finds the others; nothing if it was not.

    On one machine torchrun keeps the store of the first attempt, in which addresses of processes
    that are dead would be found.
    """
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    # on several machines the numbers of attempts may differ
    alone = os.environ.get("GROUP_WORLD_SIZE") == "1"
    if attempt == "0" or not alone or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return {}
    found = distributed.rendezvous("env://", timeout=PATIENCE)  # type: ignore[attr-defined]
    store, rank, size = next(found)
    prefixed = distributed.PrefixStore(f"attempt/{attempt}", store)  # type: ignore[attr-defined]
    return {"store": prefixed, "rank": rank, "world_size": size}


def _store_of_group() -> Any:
    """Return the store by which the processes have found each other."""
    return distributed.distributed_c10d._get_default_store()


def _check_strategy(strategy: Any) -> None:
    known = get_args(Strategy)
    if strategy not in known:
        raise InvalidInputError(
            f"`strategy` must be {', '.join(map(repr, known))} or None, got {strategy!r}"
            f"{closest(str(strategy), known)}"
        )


def _leave_group() -> None:
    """Leave the process group that `joined_ranks` joined.

    A process that ends within one is aborted now and then by gloo's threads (pytorch#190489), and
    torchrun reports a failure after the work is done.
    """
    if distributed.is_initialized():
        distributed.destroy_process_group()


def joined_ranks(
    strategy: Any, device: torch.device, network: nn.Module | None = None
) -> TrainingRanks | None:
    """Return the processes that train together; None where this one trains by itself.

    Where torchrun has started this process and nobody has joined the group yet, it is joined here.

    Args:
        strategy: See `Trainer`.
        device: Of this process.
        network: Is made alike on all of them.

    Raises:
        InvalidInputError: The strategy is unknown, there is none among several processes, or one
            without a process group.
        RankFailedError: Another process has failed meanwhile.
    """
    there = distributed.is_available() and distributed.is_initialized()
    if strategy == "alone":
        return None
    if strategy is None:
        if there and distributed.get_world_size() > 1:
            raise InvalidInputError(
                f"Trainer trains on one process, this is rank {distributed.get_rank()} of "
                f"{distributed.get_world_size()}; give strategy='ddp' to train on all of them, or "
                f"use `jointrain.balancing.backward` in a loop of your own"
            )
        return None
    _check_strategy(strategy)
    if not distributed.is_available():
        raise InvalidInputError(
            f"strategy={strategy!r} needs torch.distributed, which this torch was built without"
        )
    if not there:
        missing = [name for name in _LAUNCHED if name not in os.environ]
        if missing:
            raise InvalidInputError(
                f"strategy={strategy!r} trains on several processes, and this is one by itself; "
                f"start it by `torchrun --nproc-per-node=2 ...`, or call "
                f"torch.distributed.init_process_group first"
            )
        backend = "nccl" if device.type == "cuda" else "gloo"
        distributed.init_process_group(backend, timeout=PATIENCE, **_place_in_attempt())
        atexit.register(_leave_group)
    if distributed.get_world_size() == 1:
        return None
    ranks = TrainingRanks()
    if network is not None:
        with ranks.explaining():
            ranks.make_alike(network)
    return ranks


def local_device(strategy: Strategy | None, device: torch.device) -> torch.device:
    """Return the device of this process: of the machine's GPUs the one with its local number.

    Raises:
        InvalidInputError: There are fewer GPUs than processes on this machine.
    """
    if strategy is None or device.type != "cuda" or device.index is not None:
        return device
    number, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if number >= count:
        raise InvalidInputError(
            f"this is process {number + 1} of its machine, which has {count} GPUs; start at most "
            f"{count} there, or give device='cpu'"
        )
    torch.cuda.set_device(number)
    return torch.device("cuda", number)
