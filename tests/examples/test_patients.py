"""Patients: measurements beside the diagnosis help it, and calibration mends its probabilities."""

import runpy
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "patients.py"
EXAMPLE = runpy.run_path(str(SCRIPT))


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    picture = tmp_path_factory.mktemp("patients") / "patients.png"
    answers = EXAMPLE["main"](["--small", "--picture", str(picture)])
    assert picture.stat().st_size > 10_000
    return answers


@pytest.mark.integration
def test_every_target_is_tried_with_every_other(answers):
    changes, _ = answers
    assert set(changes) == set(permutations(EXAMPLE["DIABETES"], 2))
    assert all(found.low <= found.change <= found.high for found in changes.values())


@pytest.mark.integration
def test_the_diagnosis_beats_chance_and_calibration_brings_it_closer_to_the_truth(answers):
    _, figures = answers
    for way in ("alone", "joint"):
        assert (figures[way, "AUC"] > 0.8).all()
        assert figures[f"{way}, calibrated", "log-loss"].mean() < 0.66 - 0.1  # 0.66: the frequency
        assert figures[f"{way}, calibrated", "ECE"].mean() < figures[way, "ECE"].mean()
        # a monotone map keeps the order of the patients
        np.testing.assert_allclose(figures[f"{way}, calibrated", "AUC"], figures[way, "AUC"])
    assert figures["joint", "log-loss"].mean() < figures["alone", "log-loss"].mean()


def test_the_calibration_error_is_the_gap_of_each_bin():
    true = np.array([0, 1, 1, 1])
    p = np.array([0.15, 0.15, 0.95, 0.85])
    # bins: mean 0.15 against 1/2 (two rows), 0.95 against 1, 0.85 against 1
    assert EXAMPLE["ece"](true, p) == pytest.approx((2 * 0.35 + 0.05 + 0.15) / 4)
