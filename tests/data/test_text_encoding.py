"""Encodings: said, recognised by a mark, or refused with what the bytes may be."""

import pytest

from jointrain.data import ReadingOptions, read_raw
from jointrain.data._text_encoding import to_utf8
from jointrain.errors import InvalidInputError

TEXT = "größe,y\n1,2\n3,4\n"


def raw(tmp_path, data, **options):
    path = tmp_path / "t.csv"
    path.write_bytes(data)
    return read_raw(path, ReadingOptions(**options))


@pytest.mark.parametrize(
    "encoding", ["cp1252", "latin-1", "Windows-1252", "utf-16", "utf-16-le", "utf-32", "cp850"]
)
def test_encoding_that_is_said(tmp_path, encoding):
    frame = raw(tmp_path, TEXT.encode(encoding), encoding=encoding).frame
    assert frame.columns == ["größe", "y"]
    assert frame.rows() == [("1", "2"), ("3", "4")]


@pytest.mark.parametrize("encoding", ["utf-8", "UTF8", "utf-8-sig", "utf_8"])
def test_utf8_that_is_said(tmp_path, encoding):
    assert raw(tmp_path, TEXT.encode("utf-8-sig"), encoding=encoding).frame.columns[0] == "größe"


@pytest.mark.parametrize("encoding, name", [("utf-16", "UTF-16"), ("utf-32", "UTF-32")])
def test_byte_order_mark_is_recognised_and_said(tmp_path, encoding, name):
    table = raw(tmp_path, TEXT.encode(encoding))
    assert table.frame.columns == ["größe", "y"]
    assert f"was read as {name} by its byte order mark" in table.notes[0]
    assert raw(tmp_path, TEXT.encode("utf-8-sig")).notes == ()


@pytest.mark.parametrize(
    "text, encoding",
    [
        ("größe", "cp1252"),
        ("prix (€)", "cp1252"),
        ("Größe", "cp850"),
        ("цена", "cp1251"),
        ("τιμή", "cp1253"),
        ("価格", "shift_jis"),
        ("价格", "gb18030"),
    ],
)
def test_what_is_not_utf8_is_refused_with_likely_encodings(tmp_path, text, encoding):
    data = f"a,b\r\n1,2\r\n{text},3\r\n".encode(encoding)
    first = next(byte for byte in data if byte > 127)
    with pytest.raises(InvalidInputError) as fault:
        raw(tmp_path, data)
    message = str(fault.value)
    assert f"is not UTF-8: line 3 holds the byte 0x{first:02x}" in message
    assert f"--encoding {encoding} reads {text!r}" in message


def test_line_of_the_byte_with_old_line_ends(tmp_path):
    with pytest.raises(InvalidInputError, match="line 3 holds the byte 0xe9"):
        raw(tmp_path, b"a,b\r1,2\r\xe9,3\r")


def test_bad_byte_far_below_the_sample(tmp_path):
    data = b"a,b\n" + b"1,2\n" * 200_000 + b"\xe9,3\n"
    with pytest.raises(InvalidInputError, match="line 200002 holds the byte 0xe9"):
        raw(tmp_path, data)


@pytest.mark.parametrize(
    "data, encoding, message",
    [
        (b"a,b\n1,\x81\n", "cp1252", "not in the encoding cp1252: line 2 holds the byte 0x81"),
        (b"a,b\n1,\xff", "utf-16-le", "not in the encoding utf-16-le"),
        (b"a,b\n1,2\n", "klingon", "encoding 'klingon' is unknown; examples are utf-8"),
        (b"a,b\n1,2\n", "base64", "encoding 'base64' is unknown"),
        (TEXT.encode(), "cp1252", "is UTF-8 with words such as 'größe', .* as 'grÃ¶ÃŸe'"),
        (TEXT.encode(), "latin-1", "say --encoding utf-8"),
    ],
)
def test_encoding_that_does_not_fit(tmp_path, data, encoding, message):
    with pytest.raises(InvalidInputError, match=message):
        raw(tmp_path, data, encoding=encoding)


def test_ascii_fits_every_encoding():
    assert to_utf8(b"a,b\n", "t", "cp1252") == (b"a,b\n", ())
