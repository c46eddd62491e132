"""What the tests of all clusters share: jobs, a small study, and whether a process is there."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

from jointrain import Study, named_recipes
from tests.studies._shared_work import lines
from tests.studies._tables import QUICK, mixed_table

_TORCHRUN = """
import sys
import torch, torch.distributed as dist
dist.init_process_group("gloo")
value = torch.tensor(float(dist.get_rank() + 1))
dist.all_reduce(value)
if dist.get_rank() == 0:
    open(sys.argv[1], "w").write(str(value.item()))
dist.destroy_process_group()
"""


@dataclass(frozen=True)
class TorchrunJob:
    """A loop of one's own that is itself a program of two processes."""

    key: str
    folder: str

    def run(self):
        program, written = Path(self.folder) / "own.py", Path(self.folder) / "sum"
        program.write_text(_TORCHRUN)
        command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        subprocess.run(
            [sys.executable, *command, str(program), str(written)], check=True, capture_output=True
        )
        return float(written.read_text())


def small_study():
    recipes = named_recipes(["separate", "joint"], replace(QUICK, ensemble=1))
    return Study(mixed_table(), recipes, ["constant"], folds=2, seeds=1)


def figures(result):
    return result.table.to_dicts()


def stop_in_the_midst(results, traces):
    """Wait until a job has begun that takes long, stop all, and return its process."""
    next(results)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        begun, over = lines(traces, "start"), lines(traces, "end")
        found = [pid for key, pids in begun.items() for pid in pids if not over.get(key)]
        if found:
            results.close()
            return found[0]
        time.sleep(0.05)
    raise AssertionError("no job has begun")


def has_ended(pid):
    """Wait a while for the end of a process."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.05)
    return False
