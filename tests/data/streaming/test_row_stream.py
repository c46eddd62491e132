"""Batches of a table larger than memory."""

from itertools import chain

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings, strategies as st

from jointrain.data import TensorData
from jointrain.data.streaming import RowStream, TypedRows
from jointrain.errors import InvalidInputError


def stream_of(piece_rows, **options):
    """Return a stream whose inputs are the numbers of the rows over all pieces."""
    starts = np.cumsum([0, *piece_rows])

    def read(number):
        rows = np.arange(starts[number], starts[number + 1])
        flags = np.zeros(len(rows), dtype=bool)
        return TypedRows(pl.DataFrame({"row": rows}), rows[:, None] * 2.0, None, flags, ~flags)

    def encode(rows):
        numbers = torch.tensor(rows.frame["row"].to_numpy(), dtype=torch.float64)[:, None]
        return TensorData(numbers, {"a": torch.from_numpy(rows.labels[:, 0])})

    return RowStream(read, encode, tuple(piece_rows), {"a": sum(piece_rows)}, 1, **options)


def rows_of(stream, batch_size, epoch=0, first=0, seed=0):
    """Return the rows of each batch."""
    order = stream.order(batch_size, seed)
    found = []
    for batch in stream.batches(order, epoch, first):
        rows = batch.inputs[:, 0]
        assert (batch.targets["a"] == 2 * rows).all()
        found.append(rows.long().tolist())
    return found


PIECES = st.lists(st.integers(0, 30), min_size=1, max_size=8).filter(lambda rows: sum(rows) >= 5)


@settings(max_examples=25)
@given(
    pieces=PIECES,
    batch_size=st.integers(4, 40),
    buffer_rows=st.integers(1, 100),
    epoch=st.integers(0, 2),
    workers=st.integers(0, 3),
    ranks=st.integers(1, 3),
    other_workers=st.integers(0, 3),
    data=st.data(),
)
def test_every_row_comes_once_also_after_a_resume_with_other_ranks_and_workers(
    pieces, batch_size, buffer_rows, epoch, workers, ranks, other_workers, data
):
    stream = stream_of(pieces, buffer_rows=buffer_rows, workers=workers)
    whole = rows_of(stream, batch_size, epoch)
    assert sorted(chain(*whole)) == list(range(sum(pieces)))
    stop = data.draw(st.integers(0, len(whole) - 1))
    resumed = stream_of(pieces, buffer_rows=buffer_rows, workers=other_workers)
    if min(map(len, whole)) < ranks:
        ranks = 1
    parts = [
        rows_of(resumed.sharded(rank, ranks), batch_size, epoch, stop) for rank in range(ranks)
    ]
    assert [[*chain(*of_ranks)] for of_ranks in zip(*parts, strict=True)] == whole[stop:]


def test_pieces_whose_rows_are_through_are_not_read_again():
    stream = stream_of([10] * 10, buffer_rows=10, workers=0)
    read = []
    counted = RowStream(
        lambda number: read.append(number) or stream.read(number),
        stream.encode, stream.piece_rows, stream.labels, 1, buffer_rows=10, workers=0,
    )  # fmt: skip
    rows_of(counted, 10, first=7)
    assert len(read) == 3


def test_an_error_of_a_reading_thread_reaches_the_trainer():
    def read(number):
        raise InvalidInputError("row group 3 can't be read")

    stream = stream_of([10, 10])
    broken = RowStream(read, stream.encode, (10, 10), {"a": 20}, 1)
    with pytest.raises(InvalidInputError, match="row group 3"):
        rows_of(broken, 5)


def test_a_stream_that_is_left_ends_its_threads():
    import threading

    stream = stream_of([10] * 20, buffer_rows=10, workers=2)
    batches = stream.batches(stream.order(5, 0), 0)
    next(batches)
    batches.close()
    assert not [one for one in threading.enumerate() if one.name.startswith("jointrain-rows")]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"workers": -1}, "workers"),
        ({"buffer_rows": 0}, "buffer_rows"),
        ({"rank": 2, "ranks": 2}, "rank 2 of 2"),
    ],
)
def test_numbers_out_of_range_are_refused(options, said):
    with pytest.raises(InvalidInputError, match=said):
        stream_of([10], **options)


def test_batches_of_fewer_rows_than_ranks_are_refused():
    with pytest.raises(InvalidInputError, match="3 processes"):
        stream_of([10], rank=0, ranks=3).order(2, 0)
    with pytest.raises(InvalidInputError, match="no row is left"):
        stream_of([0])
