"""The socket that a server listens on."""

from __future__ import annotations

import errno
import os
import socket

from jointrain.errors import InvalidInputError


def bound_socket(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address; who comes before it is served has to wait.

    Args:
        host: Name or number of this machine.
        port: 0 takes a free one.

    Raises:
        InvalidInputError: The port is in use or not allowed, or the host is not this machine.
    """
    if not 0 <= port <= 65535:
        raise InvalidInputError(f"port must be from 0 to 65535, got {port}")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError):
        raise InvalidInputError(f"host {host!r} is not known; give a name or an address") from None
    family, kind, protocol, _, address = found[0]
    made = socket.socket(family, kind, protocol)
    if os.name == "posix":
        # a port that was closed a moment ago is free; one that is listened on is not
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind(address)
        made.listen(2048)
    except OSError as error:
        made.close()
        if error.errno == errno.EADDRINUSE:
            raise InvalidInputError(
                f"port {port} of {host} is in use; choose another by --port, or 0 for a free one"
            ) from None
        raise InvalidInputError(
            f"can't listen on port {port} of {host}: {error.strerror or error}; choose others by "
            "--port and --host"
        ) from None
    return made


def address_of(bound: socket.socket) -> str:
    """Return the address of a bound socket as browsers take it."""
    host, port = bound.getsockname()[:2]
    if bound.family == socket.AF_INET6:
        host = f"[{host}]"
    return f"http://{host}:{port}"
