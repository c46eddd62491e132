"""`jointrain demo`: the question answered for a table that comes with the package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ENERGY = ("energy_efficiency.csv", "heating_load,cooling_load")


def demo(
    out: Annotated[Path, typer.Option(help="Folder of the answer.")] = Path("energy-answer"),
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier answer.")] = False,
) -> int:
    """Answer the question for a real table: 768 buildings, heating and cooling load."""
    import jointrain.data
    from jointrain.cli import run
    from jointrain.system.terminal_streams import say

    file, targets = ENERGY
    table = Path(jointrain.data.__path__[0]) / file
    command = ["compare", str(table), "--targets", targets, "--out", str(out)]
    command += ["--force"] * force
    say("jointrain " + " ".join(command))
    return run(command)
