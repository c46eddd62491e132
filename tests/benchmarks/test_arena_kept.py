"""Kept predictions of the arena come back as they were."""

import numpy as np
import pytest


@pytest.fixture(scope="module")
def kept(benchmark_module):
    return benchmark_module("arena_kept")


def test_predictions_come_back_with_classes_of_their_types(kept, tmp_path):
    one = kept.Kept(
        {"n / 1": np.array([1.5, -2.0]), "c": (np.eye(2), ["no", "yes"]),
         "o": (np.ones((2, 1)), [np.int64(3)])},
        {"n / 1": np.array([[0.0, np.inf], [-np.inf, 1.0]])},
        {"n / 1": 30},
        "ridge",
        component_predictions={"c": (1 - np.eye(2), ["no", "yes"])},
    )  # fmt: skip
    one.write(tmp_path / "new", "table", "jointrain compare", 2)
    found = kept.Kept.read(tmp_path / "new", "table", "jointrain compare", 2)
    np.testing.assert_array_equal(found.predictions["n / 1"], one.predictions["n / 1"])
    np.testing.assert_array_equal(found.predictions["c"][0], np.eye(2))
    assert found.predictions["c"][1] == ["no", "yes"]
    assert found.predictions["o"][1] == [3]
    np.testing.assert_array_equal(found.intervals["n / 1"], one.intervals["n / 1"])
    assert (found.chosen, found.held_out) == ("ridge", {"n / 1": 30})
    assert found.chosen_predictions == {}
    np.testing.assert_array_equal(found.component_predictions["c"][0], 1 - np.eye(2))


def test_what_was_not_kept_is_none(kept, tmp_path):
    assert kept.Kept.read(tmp_path, "table", "ridge", 0) is None
    (tmp_path / "table, ridge, 0.half").write_bytes(b"a stop in mid-write")
    assert kept.Kept.read(tmp_path, "table", "ridge", 0) is None
