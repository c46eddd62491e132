"""Tables of databases: SQLite, and PostgreSQL where this machine has a server."""

import datetime as dt
import decimal
import sqlite3
import sys
import uuid

import polars as pl
import pyarrow as pa
import pytest

from jointrain.data import read_raw
from jointrain.data._database import plain_types
from jointrain.errors import InvalidInputError, MissingDependencyError
from tests.postgresql import running_server


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "d.db"
    connection = sqlite3.connect(path)
    connection.execute('CREATE TABLE "my t" (id text, n integer, x real, mixed, "none" integer)')
    rows = [("007", 2**62, 1.5, 1, None), (" k ", 2, 2, "x", None), (None, None, None, None, None)]
    connection.executemany('INSERT INTO "my t" VALUES (?, ?, ?, ?, ?)', rows)
    connection.execute("CREATE TABLE empty (a)")
    connection.commit()
    connection.close()
    return path


@pytest.mark.parametrize("slashes", ["sqlite://", "sqlite:///"])
def test_a_table_of_sqlite(database, slashes):
    table = read_raw(f"{slashes}{database}?table=my t")
    assert not table.is_text
    assert table.frame.rows() == [
        ("007", 2**62, 1.5, "1", None),
        (" k ", 2, 2.0, "x", None),
        (None, None, None, None, None),
    ]
    (note,) = table.notes
    assert note.endswith("has columns with text and numbers, read as text: 'mixed'")


def test_a_query_of_sqlite(database, monkeypatch):
    query = 'SELECT id, n %2B 1 AS m FROM "my t" WHERE n < 5'
    assert read_raw(f"sqlite:///{database}?query={query}").frame.rows() == [(" k ", 3)]
    monkeypatch.chdir(database.parent)
    assert read_raw("sqlite:///d.db?query=SELECT 1 AS one").frame.rows() == [(1,)]


@pytest.mark.parametrize(
    "query, expected",
    [
        ("SELECT n+1 AS a, x FROM t ORDER BY n", [(4, 0.5), (6, 1.5)]),
        ("SELECT n & 4 AS a FROM t ORDER BY n", [(0,), (4,)]),
        ("SELECT id FROM t WHERE id NOT LIKE '%abc%'", [("a#b",)]),
        ("SELECT n AS a FROM t WHERE id = 'a#b'", [(5,)]),
        ("SELECT id FROM t WHERE id LIKE '%2B%'", [("xabc%2B",)]),
        ("SELECT n%20 AS a FROM t ORDER BY n", [(3,), (5,)]),
        ("SELECT%20n+1%20AS%20a%20FROM%20t%20ORDER%20BY%20n", [(4,), (6,)]),
        ("SELECT+n%2B1+AS+a+FROM+t+ORDER+BY+n", [(4,), (6,)]),
        ("SELECT%20n%20%26%204%20AS%20a%20FROM%20t%20ORDER%20BY%20n", [(0,), (4,)]),
        ("SELECT(n+1)FROM(t)WHERE(n=5)", [(6,)]),
    ],
)
def test_a_query_is_taken_as_it_stands_or_escaped(tmp_path, query, expected):
    connection = sqlite3.connect(tmp_path / "q.db")
    connection.execute("CREATE TABLE t (id text, n integer, x real)")
    connection.executemany("INSERT INTO t VALUES (?, ?, ?)", [("xabc%2B", 3, 0.5), ("a#b", 5, 1.5)])
    connection.commit()
    connection.close()
    assert read_raw(f"sqlite:///{tmp_path}/q.db?query={query}").frame.rows() == expected


@pytest.mark.parametrize(
    "rest, message",
    [
        ("?table=empty&mode=ro", "says 'mode', which nothing here understands"),
        ("?query=SELECT%201%20&%204", "says ' 4', which nothing here understands"),
        ("?query=SELECT%20'%E9'", "no UTF-8"),
        ("?table=%E9", "no UTF-8"),
        ("?table=empty&table=my t", "says a part twice"),
        ("?table=empty#1", "there is no table 'empty#1'"),
    ],
)
def test_what_an_address_says_beside_is_refused(database, rest, message):
    with pytest.raises(InvalidInputError, match=message):
        read_raw(f"sqlite:///{database}{rest}")


def test_settings_of_postgresql_reach_it_as_they_are(monkeypatch):
    from jointrain.data import _database

    told = []

    def read(address, query, shown):
        told.append((address, query))
        return _database.RawTable(pl.DataFrame({"a": [1]}), is_text=False, where=shown)

    monkeypatch.setattr(_database, "_read_postgresql", read)
    monkeypatch.delenv("PGCONNECT_TIMEOUT", raising=False)
    options = "options=-c search_path%3Dmine&connect_timeout=3"
    read_raw(f"postgresql://me:a#b@h/d?{options}&query=SELECT a+b & 1 FROM t")
    read_raw("postgresql:///d?table=s.t")
    assert told == [
        (
            "postgresql://me:a#b@h/d?connect_timeout=3&options=-c%20search_path%3Dmine",
            "SELECT a+b & 1 FROM t",
        ),
        ("postgresql:///d?connect_timeout=10", 'SELECT * FROM "s"."t"'),
    ]


def test_nothing_is_written(database):
    with pytest.raises(InvalidInputError, match="readonly database"):
        read_raw(f'sqlite:///{database}?query=DELETE FROM "my t"')
    assert read_raw(f"sqlite:///{database}?table=my t").frame.height == 3


@pytest.mark.parametrize(
    "rest, message",
    [
        ("", r"names no table; add \?table=NAME or \?query=SELECT... \(it has empty, my t\)"),
        ("?table=my", "there is no table 'my'.*did you mean 'my t'"),
        ("?table=my t&query=SELECT 1", "names a table and a query; drop one"),
        ("?query=SELECT", "can't be read: "),
        ("?query=SELECT 1 AS a, 2 AS a", "names column 'a' more than once"),
        ("?table=empty", "has no rows"),
    ],
)
def test_faults_of_sqlite(database, rest, message):
    with pytest.raises(InvalidInputError, match=message):
        read_raw(f"sqlite:///{database}{rest}")


def test_no_database(tmp_path, database):
    with pytest.raises(InvalidInputError, match="there is no file"):
        read_raw(f"sqlite:///{tmp_path}/nowhere.db?table=a")
    assert not (tmp_path / "nowhere.db").exists()
    with pytest.raises(InvalidInputError, match=r"is an SQLite database; .*\?table=NAME"):
        read_raw(database)
    with pytest.raises(InvalidInputError, match=r"known are postgresql:// and sqlite:///; export"):
        read_raw("mysql://me:secret@host/x?table=a")


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://me:secret@127.0.0.1:1/x?table=a",
        "postgresql://me:se/cr@et@127.0.0.1:1/x?table=a",
        "postgresql://127.0.0.1:1/x?password=secret&table=a",
        "mysql://me:secret@host/x",
    ],
)
def test_no_password_is_shown(address):
    with pytest.raises(InvalidInputError) as fault:
        read_raw(address)
    assert "secret" not in str(fault.value)
    assert "cr@et" not in str(fault.value)


def test_a_table_must_be_named():
    with pytest.raises(InvalidInputError, match="names no table; add"):
        read_raw("postgresql://host/name")


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "adbc_driver_postgresql", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'jointrain\[database\]'"):
        read_raw("postgresql://host/name?table=a")


def column(kind, values, dtype):
    field = pa.field("a", dtype, metadata={"POSTGRESQL:type": kind})
    return pa.Table.from_arrays([pa.array(values, dtype)], schema=pa.schema([field]))


@pytest.mark.parametrize(
    "values, dtype",
    [
        (["1.10", "-2.5", None], pl.Decimal(38, 2)),
        (["12345678901234567890123", "7"], pl.Decimal(38, 0)),
        (["NaN", "1.5"], pl.Float64),
        (["1" * 30, "0." + "1" * 30], pl.Float64),
    ],
)
def test_numbers_of_any_precision(values, dtype):
    found = pl.from_arrow(plain_types(column("numeric", values, pa.string()), "t"))["a"]
    assert found.dtype == dtype
    if dtype != pl.Float64:
        assert found.to_list() == [None if v is None else decimal.Decimal(v) for v in values]


@pytest.mark.parametrize("kind", ["money", "interval"])
def test_types_without_counterpart_are_refused(kind):
    with pytest.raises(InvalidInputError, match=f"column 'a' of t has the type {kind}; CAST it"):
        plain_types(column(kind, [1], pa.int64()), "t")


@pytest.fixture
def server():
    """A PostgreSQL server of its own on a free port; skips where there is no such program."""
    pytest.importorskip("adbc_driver_postgresql")
    with running_server() as made:
        yield made.url


@pytest.mark.integration
def test_postgresql(server):
    from adbc_driver_postgresql import dbapi

    key = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"
    with dbapi.connect(server) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA s")
        cursor.execute(
            'CREATE TABLE s."My T" (id text, n bigint, d numeric, day date, at timestamptz, b bool,'
            " k uuid, j jsonb, m money)"
        )
        cursor.execute(
            "INSERT INTO s.\"My T\" VALUES ('007', 1, 1.10, '2024-01-02', '2024-01-02 10:00+02',"
            f" true, '{key}', '{{\"a\": 1}}', 1),"
            " (NULL, NULL, 12345678901234567890, NULL, NULL, NULL, NULL, NULL, NULL)"
        )
        connection.commit()
    names = "id, n, d, day, at, b, k, j"
    table = read_raw(f'{server}?query=SELECT {names} FROM s."My T"')
    first, second = table.frame.rows()
    assert first == (
        "007",
        1,
        decimal.Decimal("1.10"),
        dt.date(2024, 1, 2),
        dt.datetime(2024, 1, 2, 8, tzinfo=dt.UTC),
        True,
        str(uuid.UUID(key)),
        '{"a": 1}',
    )
    assert second[2] == decimal.Decimal("12345678901234567890")
    with pytest.raises(InvalidInputError, match=r"column 'm' .* has the type money"):
        read_raw(f"{server}?table=s.My T")
    with pytest.raises(InvalidInputError, match=r'relation "nope" does not exist') as fault:
        read_raw(f"{server}?table=nope")
    assert "secret" not in str(fault.value)
    with pytest.raises(InvalidInputError, match='database "nowhere" does not exist'):
        read_raw(f"{server.removesuffix('postgres')}nowhere?table=a")


def test_bytes_beside_text_are_no_text(tmp_path):
    connection = sqlite3.connect(tmp_path / "d.db")
    connection.execute("CREATE TABLE t (a, b)")
    connection.executemany("INSERT INTO t VALUES (?, ?)", [("abc", b"x"), (b"abc", None)])
    connection.commit()
    connection.close()
    address = f"sqlite:///{tmp_path / 'd.db'}"
    with pytest.raises(InvalidInputError, match=r"column 'a' of .* holds bytes in row 2"):
        read_raw(f"{address}?table=t")
    assert read_raw(f"{address}?query=SELECT b FROM t").frame["b"].to_list() == [b"x", None]
