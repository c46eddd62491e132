"""The HTTP server: where it listens, and how it ends."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn
from fastapi import FastAPI

from jointrain.serving._limits import Limits

_MOST_CONNECTIONS = 1000


def run_app(app: FastAPI, listening: socket.socket, limits: Limits) -> None:
    """Answer requests until Ctrl-C or SIGTERM.

    Then no new one is taken, and those under way have `Limits.drain` seconds; a second signal does
    not wait for them.

    Args:
        app: What answers.
        listening: A bound socket, which is closed in the end.
        limits: As said.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=limits.drain,
        limit_concurrency=_MOST_CONNECTIONS,
    )
    _Server(config).run(sockets=[listening])


class _Server(uvicorn.Server):
    """One that a signal ends in peace: uvicorn's own raises the signal again in the end."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self._stop) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.force_exit = self.should_exit
        self.should_exit = True
