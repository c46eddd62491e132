"""Requests that wait are predicted together, and none pays for another's fault."""

import asyncio
import threading

import polars as pl
import pytest

from jointrain.errors import InvalidInputError
from jointrain.serving._batches import Batches, BusyError


class Rows:
    """The rows of a request."""

    def __init__(self, frame, coverage):
        self.frame, self.height = frame, frame.height
        self.key = coverage, tuple(frame.dtypes)


class Doubling:
    """Predicts twice the input; the first call waits until it may go on."""

    def __init__(self):
        self.go_on, self.sizes = threading.Event(), []

    def __call__(self, asked):
        if not self.sizes:
            self.go_on.wait(10)
        frames = [rows.frame for rows in asked]
        self.sizes.append(pl.concat(frames).height)
        if any((frame["x"] < 0).any() for frame in frames):
            raise InvalidInputError("below 0")
        return [frame.select(pl.col("x") * 2) for frame in frames]


def run(asked, most_rows=100, most_waiting=1000):
    """Return what each of the asked frames got, and the sizes of the batches."""
    predict = Doubling()

    async def all_of_them():
        batches = Batches(predict, most_rows, most_waiting)
        tasks = []
        for frame, coverage in asked:
            tasks.append(asyncio.create_task(batches.predict(Rows(frame, coverage))))
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        predict.go_on.set()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert batches.waiting_rows == 0
        batches.close()
        return found

    return asyncio.run(all_of_them()), predict.sizes


def frame(*values):
    return pl.DataFrame({"x": values})


def test_what_waits_is_one_batch_and_each_gets_its_own():
    found, sizes = run([(frame(number, 10 * number), None) for number in range(5)])
    assert [one["x"].to_list() for one in found] == [[2 * i, 20 * i] for i in range(5)]
    assert sizes == [2, 8]


def test_a_batch_has_its_limit():
    found, sizes = run([(frame(1, 2, 3), None)] * 4, most_rows=6)
    assert sizes == [3, 6, 3]
    assert len(found) == 4


def test_other_coverages_and_other_types_are_other_batches():
    asked = [(frame(0), None), (frame(1), 0.9), (frame(2.5), None), (frame(3), 0.9)]
    found, sizes = run(asked)
    assert sizes == [1, 2, 1]
    assert [one["x"].to_list() for one in found] == [[0], [2], [5.0], [6]]


def test_a_fault_is_answered_to_the_one_who_made_it():
    found, _ = run([(frame(0), None), (frame(1), None), (frame(-1), None), (frame(2), None)])
    assert [one["x"].to_list() for one in (found[0], found[1], found[3])] == [[0], [2], [4]]
    with pytest.raises(InvalidInputError, match="below 0"):
        raise found[2]


def test_more_than_may_wait_is_refused():
    found, _ = run([(frame(1, 2), None), (frame(3, 4), None), (frame(5), None)], most_waiting=3)
    assert isinstance(found[1], BusyError)
    assert found[2]["x"].to_list() == [10]
