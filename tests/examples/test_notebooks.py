"""The notebooks run from their first cell to their last, and are kept without outputs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))


def test_there_are_four_and_none_has_outputs():
    assert [path.stem for path in NOTEBOOKS] == [
        "a_table", "many_data_sets", "own_networks", "results_from_elsewhere",
    ]  # fmt: skip
    for path in NOTEBOOKS:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        assert not any(cell.get("outputs") for cell in cells)


@pytest.mark.integration
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path):
    pytest.importorskip("nbmake")
    pytest.importorskip("ipykernel")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbmake"]
    command += ["--nbmake-timeout=900", "--rootdir", str(EXAMPLES), str(path)]
    ran = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(EXAMPLES.parent / "src")},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-3000:]
