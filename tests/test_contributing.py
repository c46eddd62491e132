"""The recipes of CONTRIBUTING.md, done in a copy of the package."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import jointrain

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"Write `(src/jointrain/[^`]+\.py)`.*?```python\n(.*?)```", re.S)
USE = """
from jointrain import Recipe, Task, load_penguins
from jointrain.balancing import BALANCERS, MyMethod
from jointrain.baselines import BASELINES
from jointrain.networks import NETWORKS, MyNetwork, build_network
from jointrain.testing import check_balancer, check_baseline, check_network
import jointrain, sys

assert jointrain.__file__.startswith(sys.argv[1]), jointrain.__file__
assert BALANCERS["my-method"] is MyMethod
check_balancer(MyMethod)
assert type(build_network("my-network", 3, [Task.regression("a")], hidden=4)) is MyNetwork
assert NETWORKS["my-network"].network is MyNetwork
check_network(MyNetwork.for_table)
check_baseline(BASELINES["nearest neighbour"])
Recipe(balancer="my-method", network="my-network", network_options={"hidden": 4}).check()
"""


@pytest.fixture(scope="module")
def copied(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("copy")
    package = Path(jointrain.__file__).parent
    shutil.copytree(
        package, folder / "src" / "jointrain", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(ROOT / "pyproject.toml", folder)
    recipes = BLOCK.findall((ROOT / "CONTRIBUTING.md").read_text())
    assert len(recipes) == 3
    for place, code in recipes:
        assert not (folder / place).exists()
        (folder / place).write_text(code)
    return folder


def _run(folder: Path, *command: str) -> None:
    ran = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder / "src")},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_one_file_each_is_found_and_passes_the_checks(copied):
    _run(copied, "-c", USE, str(copied))


def test_the_files_pass_the_linter(copied):
    pytest.importorskip("ruff")
    files = [place for place, _ in BLOCK.findall((ROOT / "CONTRIBUTING.md").read_text())]
    _run(copied, "-m", "ruff", "check", *files)
    _run(copied, "-m", "ruff", "format", "--check", *files)
