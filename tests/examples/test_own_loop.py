"""Your own loop: the same four lines let each loop read digits that the sum of losses misses."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "own_loop.py"
EXAMPLE = runpy.run_path(str(SCRIPT))
LOOPS = ["plain", "lightning", "transformers"]
quiet = pytest.mark.filterwarnings("ignore")


@quiet
@pytest.mark.integration
@pytest.mark.parametrize("loop", LOOPS)
def test_with_the_change_a_loop_learns_both_tasks(loop):
    if loop != "plain":
        pytest.importorskip(loop, reason=f"the package {loop} is not installed")
    for seed in range(2):
        before, after = (EXAMPLE["run"](loop, way, seed, 15) for way in EXAMPLE["WAYS"])
        assert after[0] > max(0.6, before[0] + 0.4)  # ten classes
        assert after[1] < 0.3  # 1: the mean


def test_the_program_draws_the_figures_that_it_prints(tmp_path, capsys):
    picture = tmp_path / "before_and_after.png"
    runs = EXAMPLE["main"](["--loops", "plain", "--seeds", "1", "--picture", str(picture)])
    assert picture.stat().st_size > 10_000
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(runs) == 2
    assert f"{runs['plain, Nash-MTL'][0][0]:.3f}" in lines[1]


@quiet
def test_lightning_and_the_plain_loop_end_with_the_same_figures():
    pytest.importorskip("lightning", reason="the package lightning is not installed")
    first, second = (EXAMPLE["run"](loop, "Nash-MTL", 4, 2) for loop in ("plain", "lightning"))
    assert first == second


def test_each_change_on_the_page_has_at_most_five_new_lines_and_is_in_the_example():
    page = (ROOT / "docs" / "examples" / "own_loop.md").read_text()
    source = SCRIPT.read_text()
    changes = re.findall(r"^```diff\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(changes) == len(LOOPS)
    for change in changes:
        new = [line[1:].strip() for line in change.splitlines() if line.startswith("+")]
        assert 3 <= len(new) <= 5
        for line in new:
            if "import" not in line and "NashMTL()" not in line:
                assert line in source
