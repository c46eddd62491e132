"""`jointrain doctor`: what is installed and what the machine has, for reports of faults."""

from __future__ import annotations

import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

from jointrain.cli._flags import JSON
from jointrain.cli._printing import print_json

_REQUIREMENT = re.compile(r"^([\w.-]+)(?:\[([\w, -]+)\])?")
_EXTRA = re.compile(r"""extra\s*==\s*['"]([\w-]+)['"]""")
_FOR_DEVELOPERS = ("test", "docs", "dev")


def doctor(json_output: JSON = False) -> None:
    """Show versions, extras, devices and threads; put it into a report of a fault."""
    told = _told()
    if json_output:
        print_json(told)
        return
    for name in ("jointrain", "python", "system", "cores", "threads", "devices"):
        print(f"{name:10} {told[name]}")
    print("\npackages")
    for name, number in told["packages"].items():
        print(f"  {name:22} {number or 'MISSING: reinstall jointrain'}")
    print("\nextras: pip install 'jointrain[NAME]' for those that lack something")
    for name, packages in told["extras"].items():
        lacking = [one for one, number in packages.items() if number is None]
        said = ", ".join(f"{one} {number}" for one, number in packages.items() if number)
        print(f"  {name:12} {'lacks ' + ', '.join(lacking) if lacking else said}")


def _told() -> dict[str, Any]:
    import torch

    from jointrain import __version__
    from jointrain.system.cores import available_cores

    core: dict[str, str | None] = {}
    extras: dict[str, dict[str, str | None]] = {}
    for line in requires("jointrain") or []:
        requirement, _, marker = line.partition(";")
        found = _REQUIREMENT.match(requirement.strip())
        extra = _EXTRA.search(marker)
        if found is None or found[1] == "jointrain":
            continue
        if extra is None:
            core[found[1]] = _version(found[1])
        elif extra[1] not in _FOR_DEVELOPERS and _is_for_here(marker):
            extras.setdefault(extra[1], {})[found[1]] = _version(found[1])
    core["torch"] = str(torch.__version__)  # the build, such as +cpu, is part of it
    return {
        "jointrain": __version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "system": platform.platform(),
        "cores": available_cores(),
        "threads": torch.get_num_threads(),
        "devices": ", ".join(_devices()),
        "packages": core,
        "extras": dict(sorted(extras.items())),
    }


def _is_for_here(marker: str) -> bool:
    """Return whether a requirement is for this machine, as far as jointrain's own ones tell."""
    linux = sys.platform == "linux" and platform.machine() == "x86_64"
    if "sys_platform == " in marker:
        return linux
    return not (linux and "sys_platform != " in marker)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _devices() -> list[str]:
    import torch

    found = ["cpu"]
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        found += [f"cuda:{i} ({name})" for i, name in enumerate(names)]
    if torch.backends.mps.is_available():
        found.append("mps")
    return found
