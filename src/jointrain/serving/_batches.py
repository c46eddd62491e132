"""Batches: requests that wait at the same time are predicted together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import polars as pl

Predict = Callable[[pl.DataFrame, float | None], pl.DataFrame]


class BusyError(Exception):
    """More rows wait than may."""


@dataclass(eq=False)
class _Job:
    """Rows that wait for their predictions."""

    features: pl.DataFrame
    coverage: float | None
    done: asyncio.Future[pl.DataFrame] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    @property
    def key(self) -> tuple[Any, ...]:
        """What jobs must have in common: the same types, so that no row is read otherwise."""
        return self.coverage, tuple(self.features.dtypes)


class Batches:
    """Predicts in one thread; while it is at work, what comes in is gathered for the next time.

    So nothing waits for others when there is little to do, and under load a pass through the model
    serves many requests.

    Args:
        predict: Predicts a table, with intervals of a coverage.
        most_rows: In a batch of several requests.
        most_waiting: Rows that may wait.
        told: Called with the number of rows of each batch.
    """

    def __init__(
        self,
        predict: Predict,
        most_rows: int,
        most_waiting: int,
        told: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._predict = predict
        self._most_rows, self._most_waiting = most_rows, most_waiting
        self._told = told
        self._waiting: deque[_Job] = deque()
        self._rows = 0
        self._worker: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="predict")

    @property
    def waiting_rows(self) -> int:
        """Rows that wait or are being predicted."""
        return self._rows

    async def predict(self, features: pl.DataFrame, coverage: float | None) -> pl.DataFrame:
        """Return the predictions of rows, in their order.

        Raises:
            BusyError: Too many rows wait already.
            InvalidInputError: They can't be predicted.
        """
        if self._rows and self._rows + features.height > self._most_waiting:
            raise BusyError
        job = _Job(features, coverage)
        self._waiting.append(job)
        self._rows += features.height
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        try:
            return await job.done
        finally:
            self._rows -= features.height

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

    def _next_batch(self) -> list[_Job]:
        """Take what goes together with the first that waits; the others keep their order."""
        jobs = [self._waiting.popleft()]
        rows, key = jobs[0].features.height, jobs[0].key
        others: deque[_Job] = deque()
        for job in self._waiting:
            if job.key == key and rows + job.features.height <= self._most_rows:
                rows += job.features.height
                jobs.append(job)
            else:
                others.append(job)
        self._waiting = others
        return jobs

    async def _answer(self, jobs: list[_Job]) -> None:
        features = pl.concat([job.features for job in jobs]) if len(jobs) > 1 else jobs[0].features
        loop = asyncio.get_running_loop()
        predictions = await loop.run_in_executor(
            self._thread, _without_panic, self._predict, features, jobs[0].coverage
        )
        self._told(features.height)
        start = 0
        for job in jobs:
            if not job.done.done():  # its client may have gone
                job.done.set_result(predictions[start : start + job.features.height])
            start += job.features.height


def _without_panic(
    predict: Predict, features: pl.DataFrame, coverage: float | None
) -> pl.DataFrame:
    """Predict; a panic of Polars, which is no `Exception`, is made one."""
    try:
        return predict(features, coverage)
    except pl.exceptions.PanicException as panic:
        raise RuntimeError(str(panic)) from panic
