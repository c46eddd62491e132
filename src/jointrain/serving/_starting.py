"""From a service to what answers requests; the packages of the extra are imported here first."""

from __future__ import annotations

import gc
import socket
from typing import TYPE_CHECKING

from jointrain.serving._extra import check_extra
from jointrain.serving._service import TableService
from jointrain.training import one_thread

if TYPE_CHECKING:
    from fastapi import FastAPI


def make_app(service: TableService, token: str | None = None) -> FastAPI:
    """Return the application that answers requests, for any ASGI server.

    Args:
        service: What answers.
        token: What requests must bring as ``Authorization: Bearer TOKEN``; default nothing.

    Raises:
        MissingDependencyError: A package of the extra `serve` is not installed.
    """
    check_extra()
    from jointrain.serving._app import app_of

    return app_of(service, token)


def run_server(service: TableService, listening: socket.socket, token: str | None = None) -> None:
    """Answer requests until Ctrl-C or SIGTERM; those under way then are answered.

    Args:
        service: What answers.
        listening: What `bound_socket` gave; it is closed in the end.
        token: As in `make_app`.

    Raises:
        MissingDependencyError: A package of the extra `serve` is not installed.
    """
    app = make_app(service, token)
    from jointrain.serving._server import run_app

    # what is there now stays: a search through all of it would keep requests waiting
    gc.collect()
    gc.freeze()
    with one_thread():  # batches are small, and the one that answers needs a core as well
        run_app(app, listening, service.limits)
