"""`jointrain serve`: the model of a bundle over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jointrain.cli._bundle_opening import open_table_bundle
from jointrain.cli._flags import FACTORY, with_reading
from jointrain.cli._reading import with_kept_reading
from jointrain.system.terminal_streams import say

if TYPE_CHECKING:
    from jointrain.data import ReadingOptions

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@with_reading
def serve(
    bundle: Annotated[Path, typer.Argument(help="Folder that fit or compare wrote.")],
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 8000,
    factory: FACTORY = None,
    max_rows: Annotated[int, typer.Option(help="Rows in a request at most.")] = 10_000,
    max_megabytes: Annotated[float, typer.Option(help="Size of a request at most.")] = 10.0,
    *,
    options: ReadingOptions,
) -> None:
    """Answer requests for predictions over HTTP until Ctrl-C or SIGTERM.

    Rows come as JSON, CSV or Arrow and are read as those of the training table were; flags say
    where CSV is written in another way. If the environment variable JOINTRAIN_TOKEN is set,
    requests must bring it. Needs jointrain[serve].
    """
    from jointrain.serving import (
        TOKEN_VARIABLE,
        Limits,
        TableService,
        address_of,
        bound_socket,
        check_extra,
        run_server,
        token_of_environment,
    )

    check_extra()
    limits = Limits(rows=max_rows, megabytes=max_megabytes)
    token = token_of_environment()
    with bound_socket(host, port) as listening:
        opened = open_table_bundle(bundle, factory)
        notes = opened.description["notes"]
        service = TableService(
            opened.model, notes, with_kept_reading(options, notes), limits, bundle.resolve().name
        )
        if host not in _LOOPBACK and token is None:
            say(
                f"note: whoever reaches {host} can ask for predictions; set {TOKEN_VARIABLE} to "
                "let in only those who know it"
            )
        print(f"Serving {bundle} at {address_of(listening)}, Ctrl-C ends it", flush=True)
        run_server(service, listening, token)
    say("ended: all requests were answered")
