"""Files of strangers: what is read can be written again, all else is refused in words."""

import json
import os

import pytest
from hypothesis import given, strategies as st

from jointrain.system.stored_files import (
    DamagedError,
    check_holes,
    json_from_bytes,
    json_to_bytes,
    read_file,
    read_json,
)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(content=VALUES)
def test_what_is_read_can_be_written_again(content):
    data = json.dumps(content).encode()
    try:
        read = json_from_bytes(data)
    except DamagedError:
        return
    assert read == content
    json.dumps(read, ensure_ascii=False, allow_nan=False).encode()


@given(content=VALUES)
def test_what_is_written_is_read(content):
    try:
        data = json_to_bytes(content, indent=1)
    except DamagedError:
        return
    assert json_from_bytes(data) == content
    assert data == (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


@given(data=st.binary(max_size=50))
def test_any_bytes_are_read_or_refused(data):
    try:
        json_from_bytes(data)
    except DamagedError:
        return


@pytest.mark.parametrize(
    "data, message",
    [
        (b"[" * 100_000, "nested too deeply"),
        (b"[" * 900 + b"]" * 900, "nested too deeply"),
        (b"9" * 5000, "beyond 64 bits"),
        (b"18446744073709551616", "beyond 64 bits"),
        (b"1e999", "too large"),
        (b"NaN", "no number"),
        (b"-Infinity", "no number"),
        (b'{"a": 1, "a": 2}', "key twice"),
        (rb'"\ud800"', "half a character"),
        (rb'{"\udfff": 1}', "half a character"),
        (b'"\xff"', "not whole"),
        (b"\xef\xbb\xbf{}", "not whole"),
        (b"{}{}", "not whole"),
        (b"", "not whole"),
        (b"[" + b"[]," * 500_001 + b"0]", "more than 500,000 parts"),
        (b"[" + b"1," * 5_000_001 + b"1]", "more than 5,000,000 values"),
        (b"[0." + b"1" * 5000 + b"e4000]", "too large"),
        (b" " * (2**26 + 1), "more than 67,108,864 bytes"),
    ],
    ids=range(18),
)
def test_json_that_is_refused(data, message):
    with pytest.raises(DamagedError, match=message):
        json_from_bytes(data)


def test_files_that_are_none(tmp_path):
    inside = tmp_path / "folder"
    inside.mkdir()
    (tmp_path / "out.json").write_text("{}")
    (inside / "here.json").write_text("{}")
    (inside / "link.json").symlink_to("here.json")
    (inside / "out.json").symlink_to(tmp_path / "out.json")
    (inside / "zero").symlink_to("/dev/zero")
    (inside / "circle").symlink_to("circle")
    os.mkfifo(inside / "pipe")
    assert read_json(inside / "link.json", folder=inside) == {}
    for name in ("out.json", "zero"):
        with pytest.raises(DamagedError, match="link out of the folder"):
            read_file(inside / name, folder=inside)
    with pytest.raises(DamagedError, match="no regular file"):
        read_file(inside / "pipe", folder=inside)
    with pytest.raises(DamagedError, match="no regular file"):
        read_file(inside / "zero")
    with pytest.raises((DamagedError, OSError)):
        read_file(inside / "circle", folder=inside)
    with pytest.raises(DamagedError, match="more than 1 bytes"):
        read_file(inside / "here.json", largest=1)


def test_a_file_larger_than_its_size_says(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    assert read_file(tmp_path / "a", largest=5) == b"12345"


def _nested(levels):
    content = 0
    for _ in range(levels):
        content = [content]
    return content


@pytest.mark.parametrize(
    "content, message",
    [
        (_nested(65), "is nested too deeply"),
        (_nested(100_000), "is nested too deeply"),
        (2**64, "beyond 64 bits"),
        (float("nan"), "can't hold this: Out of range float"),
        ({"a": {1: 0, "1": 0}}, "names a key twice"),
        ({(1, 2): 0}, "can't hold this: keys must be str"),
        (["\udc80"], "holds half a character"),
        (object(), "can't hold this: Object of type object"),
        ("a" * 2**26, "has more than 67,108,864 bytes"),
        ([[]] * 500_000, "has more than 500,000 parts"),
    ],
    ids=range(10),
)
def test_what_could_not_be_read_is_not_written(content, message):
    with pytest.raises(DamagedError, match=message):
        json_to_bytes(content)


def test_spaces_are_left_out_where_they_are_too_many(monkeypatch):
    monkeypatch.setattr("jointrain.system.stored_files.LARGEST_JSON", 5000)
    content = {"a": ["b"] * 1000}
    data = json_to_bytes(content, indent=1)
    assert len(data) == 4008
    assert json_from_bytes(data) == content


@pytest.mark.skipif(not hasattr(os, "SEEK_HOLE"), reason="a system that does not tell of holes")
@pytest.mark.parametrize("size, start", [(2**40, b"abc"), (2**40, b""), (2**29, b"")])
def test_a_file_that_was_hardly_written_is_not_read(tmp_path, size, start):
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.write(start)
        file.truncate(size)
    if path.stat().st_blocks * 512 > 2**20:
        pytest.skip("a file system that writes holes")
    for read in (read_file, check_holes):
        with pytest.raises(DamagedError, match="large was never written but for a part"):
            read(path)


def test_a_file_with_small_holes_is_read(tmp_path):
    path = tmp_path / "small"
    with path.open("wb") as file:
        file.write(b"abc")
        file.truncate(2**20)
    assert read_file(path) == b"abc".ljust(2**20, b"\0")
