"""Temporary folders go with the process, even where nothing is cleaned up at its end."""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import os
from jointrain.system.temporary_folders import remove_temporary_folders, temporary_folder
kept, gone = temporary_folder("a-"), temporary_folder("b-")
open(os.path.join(kept.name, "rows"), "w").close()
print(kept.name, flush=True)
gone.cleanup()
remove_temporary_folders()
os._exit(0)
"""


def test_they_are_removed_before_the_process_ends_at_once():
    said = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert said.stderr == ""
    assert not Path(said.stdout.strip()).exists()
