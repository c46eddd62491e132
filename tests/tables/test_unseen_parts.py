"""Which rows baselines are fitted to, to predict which others."""

import numpy as np
from hypothesis import given, strategies as st

from jointrain.tables._unseen_parts import BASELINE_FITS, unseen_parts


@st.composite
def splits(draw):
    rows = draw(st.integers(2, 30))
    members = draw(st.integers(1, 9))
    random = np.random.default_rng(draw(st.integers(0, 99)))
    found = []
    for _ in range(members):
        held_out = random.random(rows) < 0.3
        left_out = random.random(rows) < 0.1
        found.append((np.flatnonzero(~held_out & ~left_out), np.flatnonzero(held_out)))
    return found


@given(splits())
def test_rows_are_predicted_by_a_fit_to_what_all_their_members_train_on(members):
    found = list(unseen_parts(members))
    assert len(found) == min(BASELINE_FITS, len(members))
    parts = [(set(known.tolist()), set(rows.tolist())) for known, rows in found]
    assert not any(known & rows for known, rows in parts)
    for train, held_out in members:
        assert any(known <= {*train} and {*held_out} <= rows for known, rows in parts)


def test_all_members_of_a_few_have_a_fit_of_their_own():
    members = [(np.array([1, 2]), np.array([0])), (np.array([0, 2]), np.array([1]))]
    for (known, rows), (train, held_out) in zip(unseen_parts(members), members, strict=True):
        np.testing.assert_array_equal(known, train)
        np.testing.assert_array_equal(rows, held_out)
