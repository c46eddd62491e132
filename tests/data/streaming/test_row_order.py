"""The order of rows of a table in pieces."""

from itertools import pairwise

import numpy as np
from hypothesis import given, strategies as st

from jointrain.data.streaming import RowOrder

ORDERS = st.builds(
    RowOrder,
    rows=st.lists(st.integers(0, 40), min_size=1, max_size=12)
    .filter(lambda rows: sum(rows) > 0)
    .map(tuple),
    batch_size=st.integers(1, 50),
    buffer_rows=st.integers(1, 200),
    seed=st.integers(0, 5),
)


def rows_of(order, epoch):
    """Return the rows of an epoch in their order: numbers over all pieces."""
    starts = np.cumsum([0, *order.rows])
    found = []
    for window in order.windows(epoch):
        numbers = np.concatenate(
            [np.arange(starts[p], starts[p + 1]) for p in window.pieces], dtype=int
        )
        assert window.first == sum(map(len, found))
        found.append(numbers[order.shuffled(epoch, window)])
    return np.concatenate(found)


@given(order=ORDERS, epoch=st.integers(0, 3))
def test_every_row_comes_once_in_an_epoch(order, epoch):
    assert sorted(rows_of(order, epoch)) == list(range(order.total))


@given(order=ORDERS)
def test_batches_cut_the_order_without_gaps_and_differ_by_one_row(order):
    bounds = [order.bounds(batch) for batch in range(order.batches)]
    assert bounds[0][0] == 0
    assert bounds[-1][1] == order.total
    assert all(one[1] == other[0] for one, other in pairwise(bounds))
    sizes = [end - start for start, end in bounds]
    assert max(sizes) <= order.batch_size
    assert max(sizes) - min(sizes) <= 1


@given(order=ORDERS, ranks=st.integers(1, 5))
def test_ranks_share_out_each_batch(order, ranks):
    for batch in range(order.batches):
        parts = [
            RowOrder(
                order.rows, order.batch_size, order.buffer_rows, order.seed, rank, ranks
            ).own_bounds(batch)
            for rank in range(ranks)
        ]
        assert parts[0][0] == order.bounds(batch)[0]
        assert parts[-1][1] == order.bounds(batch)[1]
        assert all(one[1] == other[0] for one, other in pairwise(parts))


@given(order=ORDERS, ranks=st.integers(1, 3), data=st.data())
def test_own_rows_of_windows_are_those_of_the_batches(order, ranks, data):
    rank = data.draw(st.integers(0, ranks - 1))
    first = data.draw(st.integers(0, order.batches - 1))
    own = RowOrder(order.rows, order.batch_size, order.buffer_rows, order.seed, rank, ranks)
    wanted = np.zeros(order.total, dtype=bool)
    for batch in range(first, order.batches):
        start, end = own.own_bounds(batch)
        wanted[start:end] = True
    found = [own.own_rows(window, first) for window in own.windows(0)]
    assert (np.concatenate(found) == wanted).all()


def test_epochs_and_seeds_have_orders_of_their_own():
    order = RowOrder((50, 50, 50), 32, 60)
    other = RowOrder((50, 50, 50), 32, 60, seed=1)
    assert (rows_of(order, 0) != rows_of(order, 1)).any()
    assert (rows_of(order, 0) != rows_of(other, 0)).any()
    assert (rows_of(order, 0) == rows_of(RowOrder((50, 50, 50), 7, 60), 0)).all()


def test_a_window_has_at_least_the_buffered_rows_but_for_the_last_one():
    sizes = [window.rows for window in RowOrder((30,) * 10, 32, 70).windows(0)]
    assert sizes == [90, 90, 90, 30]


def test_rows_of_a_window_are_mixed():
    order = RowOrder((1000,), 32, 100)
    shuffled = order.shuffled(0, order.windows(0)[0])
    # of a random order, neighbours are a third of the rows apart on average
    assert 250 < np.abs(np.diff(shuffled)).mean() < 420
