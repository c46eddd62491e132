"""The processes that train copies of one network together, and what they tell each other."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from jointrain.errors import InvalidInputError

T = TypeVar("T")

_BUCKET = 2**25  # bytes that are sent at once

_EARLY = 2**22
"""Bytes that are sent at once during a pass: fewer, as nothing hides the last of them."""


class Ranks:
    """A process group of torch whose processes hold copies of the same parameters.

    All methods are collective: every process of the group calls them in the same order.

    Args:
        group: The process group.

    Attributes:
        size: Number of processes.
        rank: Which of them this one is, from 0.
        sent: Bytes of gradients that this process has handed over so far.
        checked: The parameters, by their ids, that were found to be equal on all processes.
    """

    def __init__(self, group: dist.ProcessGroup) -> None:
        self.group = group
        self.size = dist.get_world_size(group)
        self.rank = dist.get_rank(group)
        self.sent = 0
        self.checked: dict[tuple[int, ...], list[weakref.ref[Tensor]]] = {}
        on_gpu = dist.get_backend(group) == "nccl"
        self.device = torch.device("cuda", torch.cuda.current_device()) if on_gpu else "cpu"

    def gather(self, numbers: Sequence[float]) -> list[list[float]]:
        """Return the numbers of every process; each must give as many."""
        mine = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        return [part.tolist() for part in self._gathered(mine)]

    def _gathered(self, mine: Tensor) -> list[Tensor]:
        """Return the tensor of every process, all of one shape."""
        found = [torch.empty_like(mine) for _ in range(self.size)]
        dist.all_gather(found, mine, group=self.group)
        return found

    def gather_objects(self, mine: T) -> list[T]:
        """Return the picklable objects of every process."""
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, mine, group=self.group)
        return found

    def from_first(self, value: T) -> T:
        """Return the picklable object of the group's first process."""
        box = [value]
        first = dist.get_global_rank(self.group, 0)
        dist.broadcast_object_list(box, src=first, group=self.group)
        return box[0]

    def add_up(self, numbers: Tensor) -> Tensor:
        """Return the sum of a small tensor over the processes, on its device."""
        return self.start_adding(numbers)()

    def start_adding(self, numbers: Tensor) -> Callable[[], Tensor]:
        """Begin to add a small tensor up over the processes; return what waits for the sum."""
        total = numbers.to(self.device, copy=True)
        work: dist.Work | None = dist.all_reduce(total, group=self.group, async_op=True)
        assert work is not None

        def finish() -> Tensor:
            work.wait()
            return total.to(numbers.device)

        return finish

    def least(self, number: float) -> float:
        """Return the smallest of the processes' numbers."""
        return min(first for first, *_ in self.gather([number]))

    def sum_in_place(self, tensors: Sequence[Tensor]) -> None:
        """Replace dense tensors, of the same shapes everywhere, by their sums over the processes.

        Small ones are sent together.
        """
        packed = ((x, x[0] if _travels_alone(x) else _packed(x)) for x in _buckets(tensors))
        for bucket, whole in self._sums(packed):
            if bucket[0] is not whole:
                torch._foreach_copy_(bucket, _unpacked(whole, bucket))

    def sums(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return the sums over the processes of dense tensors, of the same shapes everywhere.

        They are contiguous, and parts of what was sent together: a copy less than in place.
        """
        sent = self._sums((bucket, _packed(bucket)) for bucket in _buckets(tensors))
        return [part for bucket, whole in sent for part in _unpacked(whole, bucket)]

    def _sums(
        self, packed: Iterable[tuple[list[Tensor], Tensor]]
    ) -> Iterator[tuple[list[Tensor], Tensor]]:
        """Sum packed tensors; the next are packed while those before are under way."""
        waiting = [(self.start_sum(whole), bucket, whole) for bucket, whole in packed]
        for work, bucket, whole in waiting:
            work.wait()
            yield bucket, whole

    def start_sum(self, whole: Tensor) -> dist.Work:
        """Begin to replace a tensor by its sum over the processes."""
        self.sent += whole.numel() * whole.element_size()
        work: dist.Work | None = dist.all_reduce(whole, group=self.group, async_op=True)
        assert work is not None
        return work

    def sum_sparse(self, tensor: Tensor) -> Tensor:
        """Return the sum over the processes of a coalesced sparse tensor with one sparse dimension.

        Every process sends as many rows as the one that has most.
        """
        rows, values = tensor.indices()[0], tensor.values()
        counts = [int(n) for (n,) in self.gather([len(rows)])]
        most = max(counts)
        if most == 0:
            return tensor
        index = rows.new_zeros(most)
        index[: len(rows)] = rows
        padded = values.new_zeros(most, *values.shape[1:])
        padded[: len(rows)] = values
        indices, parts = torch.cat(self._gathered(index)), torch.cat(self._gathered(padded))
        self.sent += padded.numel() * padded.element_size()
        filled = torch.arange(most, device=index.device).repeat(self.size)
        kept = filled < index.new_tensor(counts).repeat_interleave(most)
        total = torch.sparse_coo_tensor(
            indices[kept][None], parts[kept], tensor.shape, check_invariants=False
        )
        return total.coalesce()

    @contextlib.contextmanager
    def all_or_none(self) -> Iterator[None]:
        """Within the block a process may fail by itself: then all of them raise, none waits.

        Raises:
            InvalidInputError: Another process failed within its block.
        """
        try:
            yield
        except Exception:
            self.gather([1.0])
            raise
        failed = [i for i, (bad,) in enumerate(self.gather([0.0])) if bad]
        if failed:
            raise other_rank_failed(failed[0])


class EarlySums:
    """Sums over the processes of gradients that come one by one, sent while others are computed.

    They are packed into buckets in a fixed order, and a bucket is sent as soon as it and all before
    it are full: every process sends the same in the same order, whatever comes first there.

    Args:
        ranks: The processes.
        like: Dense tensors of the gradients' shapes, the same everywhere, about in the order in
            which gradients come.
    """

    def __init__(self, ranks: Ranks, like: Sequence[Tensor]) -> None:
        buckets = _buckets(like, _EARLY)
        self._ranks = ranks
        self._whole = [b[0].new_empty(sum(x.numel() for x in b)) for b in buckets]
        self._parts = [
            part
            for whole, bucket in zip(self._whole, buckets, strict=True)
            for part in _unpacked(whole, bucket)
        ]
        self._bucket_of = [k for k, bucket in enumerate(buckets) for _ in bucket]
        self._missing = [set[int]() for _ in buckets]
        for place, k in enumerate(self._bucket_of):
            self._missing[k].add(place)
        self._works: list[dist.Work] = []
        self._lock = threading.Lock()  # a pass has a thread for each device

    def take(self, place: int, gradient: Tensor | None) -> None:
        """Take in the gradient at this place of `like`, None for zeros."""
        if gradient is None:
            self._parts[place].zero_()
        else:
            self._parts[place].copy_(gradient.to_dense() if gradient.is_sparse else gradient)
        with self._lock:
            self._missing[self._bucket_of[place]].discard(place)
            while (k := len(self._works)) < len(self._whole) and not self._missing[k]:
                self._works.append(self._ranks.start_sum(self._whole[k]))

    def finished(self) -> list[Tensor]:
        """Return the sums, contiguous; what has not come counts as zeros."""
        for place in sorted(set().union(*self._missing)):
            self.take(place, None)
        for work in self._works:
            work.wait()
        return self._parts


_known: dict[dist.ProcessGroup, Ranks] = {}


def ranks_of(group: dist.ProcessGroup) -> Ranks:
    """Return the processes of the group, always the same object for a group."""
    if group not in _known:
        _known[group] = Ranks(group)
    return _known[group]


def other_rank_failed(rank: int) -> InvalidInputError:
    """Return the error of the processes that stop since another one did."""
    return InvalidInputError(
        f"Rank {rank} could not take the step, so this rank stops as well. See its own message."
    )


def _buckets(tensors: Sequence[Tensor], most: int = _BUCKET) -> list[list[Tensor]]:
    """Cut the tensors into runs of one kind, each about as large as is sent at once."""
    runs: list[list[Tensor]] = []
    size = 0
    kind: tuple[torch.device, torch.dtype] | None = None
    for x in tensors:
        if (x.device, x.dtype) != kind or size > most:
            runs.append([])
            size, kind = 0, (x.device, x.dtype)
        runs[-1].append(x)
        size += x.numel() * x.element_size()
    return runs


def _travels_alone(bucket: Sequence[Tensor]) -> bool:
    return len(bucket) == 1 and bucket[0].is_contiguous()


def _packed(bucket: Sequence[Tensor]) -> Tensor:
    """Return the values of tensors as one new tensor."""
    return torch.cat([x.reshape(-1) for x in bucket])


def _unpacked(whole: Tensor, bucket: Sequence[Tensor]) -> list[Tensor]:
    """Return the parts of a packed tensor, in the shapes of those that went into it."""
    parts = torch.split(whole, [x.numel() for x in bucket])
    return [part.view(x.shape) for part, x in zip(parts, bucket, strict=True)]
