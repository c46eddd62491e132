"""The program of docs/several_machines.md runs as the page says, on processes of this machine."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.page_programs import output_of

PAGE = (Path(__file__).parents[1] / "docs" / "several_machines.md").read_text()
(PROGRAM,) = re.findall(r"```py\n(.*?)```", PAGE, re.DOTALL)
(CLUSTER,) = re.findall(r'DaskExecutor\("tcp.*?"\)', PROGRAM)
IMPORT = "from jointrain.studies import DaskExecutor"


def output(program: str, folder: Path) -> str:
    (folder / "program.py").write_text(program)
    return output_of(["program.py"], folder)


@pytest.mark.integration
def test_the_program_says_the_same_on_a_cluster_and_on_processes(tmp_path):
    distributed = pytest.importorskip("distributed", reason="no dask on this machine")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50
    ) as cluster:
        address = cluster.scheduler_address
        on_cluster = output(PROGRAM.replace("tcp://10.0.0.1:8786", address), tmp_path)
    (pool,) = re.findall(r"`(\w+\(2, .*\))` of `concurrent.futures`", PAGE)
    program = PROGRAM.replace(CLUSTER, pool)
    program = program.replace(
        IMPORT,
        f"from concurrent.futures import {pool.partition('(')[0]}\n"
        "from multiprocessing import get_context",
    )
    assert on_cluster == output(program, tmp_path)
    assert "344 rows" in on_cluster
