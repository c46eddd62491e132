"""Addresses of databases, and their passwords."""

import pytest

from jointrain.system.database_address import without_password


@pytest.mark.parametrize(
    "address, shown",
    [
        ("postgresql://me:secret@host/db", "postgresql://me:***@host/db"),
        ("postgresql://me:se/cret@host/db", "postgresql://me:***@host/db"),
        ("postgresql://me:se@cret@host/db", "postgresql://me:***@host/db"),
        ("postgresql://me:se?cret@host/db?table=a", "postgresql://me:***@host/db?table=a"),
        ("postgresql://me:se cret\n@host/db", "postgresql://me:***@host/db"),
        ("--study=postgresql://me:x@host/db", "--study=postgresql://me:***@host/db"),
        (
            "postgresql://host/db?user=me&password=secret&a=1",
            "postgresql://host/db?user=me&password=***&a=1",
        ),
        (
            "postgresql://host:1/db?query=SELECT '@' FROM t",
            "postgresql://host:1/db?query=SELECT '@' FROM t",
        ),
        ("sqlite:///a.db", "sqlite:///a.db"),
        ("me@host.csv", "me@host.csv"),
    ],
)
def test_a_password_is_hidden(address, shown):
    assert without_password(address) == shown
