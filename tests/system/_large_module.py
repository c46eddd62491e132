"""A job whose module takes more memory than loky lets a process grow by between two jobs."""

import multiprocessing
import os
import time

BALLAST = b""
if multiprocessing.current_process().name != "MainProcess":
    BALLAST = b"x" * 400_000_000


class Job:
    def run(self) -> int:
        """Return the number of the process, after loky's next look at its memory."""
        time.sleep(1.1)
        return os.getpid()
