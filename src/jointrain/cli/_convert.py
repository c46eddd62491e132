"""`jointrain convert`: a bundle of jointrain 0.1 as one of today."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jointrain.cli._printing import print_line
from jointrain.errors import InvalidInputError


def convert(
    old: Annotated[Path, typer.Argument(help="Bundle that jointrain 0.1 wrote; it stays.")],
    new: Annotated[Path, typer.Argument(help="Folder to make.")],
    force: Annotated[
        bool, typer.Option("--force", help="Replace the folder if jointrain wrote it.")
    ] = False,
) -> None:
    """Write a bundle of jointrain 0.1 as one that this jointrain loads.

    Its predictions stay the same. No code in it is run: it is read in a process of its own, within
    2 GiB and two minutes.
    """
    from jointrain.bundle import convert_bundle

    try:
        made = convert_bundle(old, new, force=force)
    except InvalidInputError as error:
        # here the folder is no option
        raise InvalidInputError(str(error).replace("another --out", "another folder")) from None
    print_line(f"Converted: {made}")
