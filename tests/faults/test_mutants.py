"""A short part of ``make fuzz``, and of ``make faults``."""

import signal
import sys
from pathlib import Path
from random import Random

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import fuzz
import kills

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and limits of POSIX")


FEW = ("old bundle", "database", "history", "checkpoint", "watch")
"""Readers that get a few of a hundred mutants."""


def test_changed_files_are_read_or_refused():
    counts, faults = fuzz.run(100, seed=7)
    assert faults == []
    for reader, words in counts.items():
        assert words["refused"] > 0 or reader in FEW, reader


@pytest.mark.parametrize("number", [2])
def test_a_killed_prediction_is_whole_or_absent(runs, number):
    reference = kills.Reference(3.0, None)
    word, found = kills.killed(runs, "predict", reference, number, Random(number))
    assert found == []
    kind = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)[number]
    assert word in ("finished", f"stopped by {kind.name}")


def test_a_full_disk_leaves_nothing_half(runs):
    word, found = kills.full_disk(runs, "predict", kills.Reference(3.0, None), 0, Random(1))
    assert found == []
    assert word in ("full", "finished")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return kills.Runs(tmp_path_factory.mktemp("kills"))
