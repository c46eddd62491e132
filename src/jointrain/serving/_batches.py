"""Batches: requests that wait at the same time are predicted together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import polars as pl


class Rows(Protocol):
    """The rows of a request."""

    @property
    def height(self) -> int:
        """How many there are."""

    @property
    def key(self) -> Hashable:
        """What the rows of requests must have in common to be predicted together."""


Asked = TypeVar("Asked", bound=Rows)
Answer = TypeVar("Answer")


class BusyError(Exception):
    """More rows wait than may."""


@dataclass(eq=False)
class _Job(Generic[Asked, Answer]):
    """Rows that wait for their predictions."""

    rows: Asked
    done: asyncio.Future[Answer] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Batches(Generic[Asked, Answer]):
    """Predicts in one thread; while it is at work, what comes in is gathered for the next time.

    So nothing waits for others when there is little to do, and under load a pass through the model
    serves many requests.

    Args:
        predict: Returns the answers to requests of one key, in their order.
        most_rows: In a batch of several requests.
        most_waiting: Rows that may wait.
        told: Called with the number of rows of each batch.
    """

    def __init__(
        self,
        predict: Callable[[Sequence[Asked]], Sequence[Answer]],
        most_rows: int,
        most_waiting: int,
        told: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._predict = predict
        self._most_rows, self._most_waiting = most_rows, most_waiting
        self._told = told
        self._waiting: deque[_Job[Asked, Answer]] = deque()
        self._rows = 0
        self._worker: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="predict")

    @property
    def waiting_rows(self) -> int:
        """Rows that wait or are being predicted."""
        return self._rows

    async def predict(self, rows: Asked) -> Answer:
        """Return the answer to the rows of a request.

        Raises:
            BusyError: Too many rows wait already.
            InvalidInputError: They can't be predicted.
        """
        if self._rows and self._rows + rows.height > self._most_waiting:
            raise BusyError
        job: _Job[Asked, Answer] = _Job(rows)
        self._waiting.append(job)
        self._rows += rows.height
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        try:
            return await job.done
        finally:
            self._rows -= rows.height

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _work(self) -> None:
        while self._waiting:
            jobs = self._next_batch()
            try:
                await self._answer(jobs)
            except Exception:  # one of them is at fault, the others are not
                for job in jobs:
                    try:
                        await self._answer([job])
                    except Exception as error:
                        if not job.done.done():
                            job.done.set_exception(error)

    def _next_batch(self) -> list[_Job[Asked, Answer]]:
        """Take what goes together with the first that waits; the others keep their order."""
        jobs = [self._waiting.popleft()]
        rows, key = jobs[0].rows.height, jobs[0].rows.key
        others: deque[_Job[Asked, Answer]] = deque()
        for job in self._waiting:
            if job.rows.key == key and rows + job.rows.height <= self._most_rows:
                rows += job.rows.height
                jobs.append(job)
            else:
                others.append(job)
        self._waiting = others
        return jobs

    async def _answer(self, jobs: list[_Job[Asked, Answer]]) -> None:
        asked = [job.rows for job in jobs]
        loop = asyncio.get_running_loop()
        answers = await loop.run_in_executor(self._thread, _without_panic, self._predict, asked)
        self._told(sum(rows.height for rows in asked))
        for job, answer in zip(jobs, answers, strict=True):
            if not job.done.done():  # its client may have gone
                job.done.set_result(answer)


def _without_panic(
    predict: Callable[[Sequence[Asked]], Sequence[Answer]], asked: Sequence[Asked]
) -> Sequence[Answer]:
    """Predict; a panic of Polars, which is no `Exception`, is made one."""
    try:
        return predict(asked)
    except pl.exceptions.PanicException as panic:
        raise RuntimeError(str(panic)) from panic
