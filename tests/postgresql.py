"""A PostgreSQL server of the tests' own, where this machine has the program."""

import glob
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


class Server:
    """A server on loopback in a folder of its own; tests may stop it and start it again."""

    def __init__(self, programs: str) -> None:
        self._user = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
        self.folder = tempfile.mkdtemp()
        if self._user:
            shutil.chown(self.folder, **self._user)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._programs, self._data = programs, f"{self.folder}/data"
        self._run("initdb", "-A", "trust", "-U", "me")

    @property
    def url(self) -> str:
        return f"postgresql://me:secret@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1"
        self._run("pg_ctl", "-o", options, "-l", f"{self.folder}/log", "-w", "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-m", "fast", "stop")

    def _run(self, program: str, *arguments: str) -> None:
        command = [os.path.join(self._programs, program), "-D", self._data, *arguments]
        subprocess.run(command, check=True, cwd="/", **self._user)


@contextmanager
def running_server() -> Iterator[Server]:
    """Run a server; skip the test where there is no such program."""
    found = shutil.which("initdb") or next(iter(glob.glob("/usr/lib/postgresql/*/bin/initdb")), "")
    if not found:
        pytest.skip("no PostgreSQL server on this machine")
    server = Server(os.path.dirname(found))
    server.start()
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(server.folder)
