"""How many processor cores this process may use: what default numbers of workers go by."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path


def available_cores(root: Path = Path("/")) -> int:
    """Return how many cores this process may use, at least 1.

    The cores that it may run on, or the processor time that its container or service is given if
    that is less: a quota of one and a half cores counts as two, which share them.

    Args:
        root: Where the file system begins; default ``/``.
    """
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        cores = os.cpu_count() or 1
    return max(1, min([cores, *(math.ceil(quota) for quota in _quotas(root))]))


def _quotas(root: Path) -> Iterator[float]:
    """Yield the limits of the control groups of this process, in cores (cgroup v2 and v1)."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        named = controllers.split(",")
        if number == "0" and not controllers:
            mounts = [root / "sys/fs/cgroup", root / "sys/fs/cgroup/unified"]
        elif "cpu" in named:
            mounts = [root / "sys/fs/cgroup/cpu", root / "sys/fs/cgroup" / controllers]
        else:
            continue
        own = Path(path.lstrip("/"))
        for mount in mounts:
            # a limit of a group holds for those in it; in a container, the path may lie outside
            for group in (own, *own.parents):
                quota = _quota(mount / group)
                if quota is not None:
                    yield quota


def _quota(group: Path) -> float | None:
    """Return the limit of one group, None if it has none."""
    try:
        if (group / "cpu.max").is_file():
            limit, period = (group / "cpu.max").read_text().split()
        else:
            limit = (group / "cpu.cfs_quota_us").read_text().strip()
            period = (group / "cpu.cfs_period_us").read_text().strip()
        quota = int(limit) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None
    return quota if quota > 0 else None
