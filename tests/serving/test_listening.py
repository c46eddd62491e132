"""Where a server listens."""

import socket

import pytest

from jointrain.errors import InvalidInputError
from jointrain.serving import address_of, bound_socket


def test_a_free_port_is_taken_and_told():
    with bound_socket("127.0.0.1", 0) as bound:
        port = bound.getsockname()[1]
        assert address_of(bound) == f"http://127.0.0.1:{port}"
        socket.create_connection(("127.0.0.1", port)).close()
        with pytest.raises(InvalidInputError, match=f"port {port} of 127.0.0.1 is in use"):
            bound_socket("127.0.0.1", port)
    # it is free again at once
    bound_socket("127.0.0.1", port).close()


@pytest.mark.parametrize(
    "host, port, what",
    [
        ("127.0.0.1", 70000, "from 0 to 65535"),
        ("127.0.0.1", -1, "from 0 to 65535"),
        ("no such host", 8000, "is not known"),
        ("203.0.113.7", 0, "can't listen"),
    ],
)
def test_no_such_address(host, port, what):
    with pytest.raises(InvalidInputError, match=what):
        bound_socket(host, port)
