import pickle
from typing import ClassVar

import numpy as np
import polars as pl
import pytest

from jointrain.data import TableEncoder, infer_columns, load_penguins
from jointrain.errors import InvalidInputError
from jointrain.system.array_file import from_bytes, to_bytes


class Malicious:
    """Leaves a mark when it is built or restored."""

    marks: ClassVar[list[str]] = []

    def __init__(self):
        self.marks.append("built")

    def __setstate__(self, state):
        self.marks.append("restored")

    def __reduce__(self):
        return (self.marks.append, ("reduced",))


@pytest.fixture
def saved(tmp_path):
    frame = load_penguins().with_columns(text=pl.Series([f"bird {i}" for i in range(344)]))
    path = tmp_path / "encoder.safetensors"
    TableEncoder().fit(frame, infer_columns(frame, frame.columns), 0).save(path)
    return path


def test_round_trip():
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.array([True]), "c": np.array([], "f4")}
    text, found = from_bytes(to_bytes(arrays, "größe"))
    assert text == "größe"
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def test_cut_file(saved):
    data = saved.read_bytes()
    for length in [0, 1, 100, len(data) // 2, len(data) - 1]:
        saved.write_bytes(data[:length])
        with pytest.raises(InvalidInputError, match="safetensors is no whole encoder file"):
            TableEncoder.load(saved)


def test_changed_byte_is_an_error_or_harmless(saved):
    data = saved.read_bytes()
    frame = load_penguins().with_columns(text=pl.lit("bird 1"))
    expected = TableEncoder.load(saved).transform(frame)
    for position in np.random.default_rng(0).integers(0, len(data), 150):
        changed = bytearray(data)
        changed[position] ^= 0x5A
        saved.write_bytes(changed)
        try:
            encoder = TableEncoder.load(saved)
        except InvalidInputError:
            continue
        # bytes that carry nothing, such as the date of an entry
        np.testing.assert_array_equal(encoder.transform(frame), expected)


@pytest.mark.parametrize("content", [Malicious, lambda: {"text": "{}", "arrays": Malicious()}])
def test_a_pickle_is_refused_and_not_read(tmp_path, content):
    path = tmp_path / "encoder.safetensors"
    path.write_bytes(pickle.dumps(content()))
    Malicious.marks.clear()
    with pytest.raises(InvalidInputError, match="is no whole encoder file"):
        TableEncoder.load(path)
    assert Malicious.marks == []


def test_a_file_that_says_it_is_huge_is_refused(tmp_path):
    path = tmp_path / "encoder.safetensors"
    header = b'{"a":{"dtype":"F64","shape":[1000000000000],"data_offsets":[0,8000000000000]}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(64))
    with pytest.raises(InvalidInputError, match="is no whole encoder file"):
        TableEncoder.load(path)


@pytest.mark.parametrize(
    "text, arrays",
    [
        ("not json", {}),
        ("[]", {}),
        ("{}", {}),
        ('{"columns": [], "blocks": [["numeric", {"names": ["a"]}]]}', {}),
        ('{"columns": [["a", "numeric", "Int64"]], "blocks": []}', {}),
        ('{"columns": [["a"]], "blocks": []}', {}),
        ('{"columns": [], "blocks": [["unknown", {}]]}', {}),
        (
            '{"columns": [["a", "numeric", "Int64"]], "blocks": [["numeric", {"names": ["a"]}]]}',
            {
                "numeric.center": np.zeros(2),
                "numeric.scale": np.zeros(1),
                "numeric.missing": np.zeros(1, dtype=bool),
            },
        ),
        (
            '{"columns": [["a", "numeric", "Int64"]], "blocks": [["numeric", {"names": ["a"]}]]}',
            {
                "numeric.center": np.array([np.nan]),
                "numeric.scale": np.zeros(1),
                "numeric.missing": np.zeros(1, dtype=bool),
            },
        ),
        (
            '{"columns": [["a", "text", "String"]], "blocks": [["text", {"names": ["a"], '
            '"numeric_text": []}]]}',
            {
                "text.frequency.0": np.ones(4096, "f4"),
                "text.direction.0": np.ones(4096, "f4"),
                "text.missing": np.zeros(1, dtype=bool),
            },
        ),
        (
            '{"columns": [["a", "category", "String"]], "blocks": [["category", '
            '{"frequent": {"a": "xy"}, "rare": {"a": []}, "missing": {"a": false}}]]}',
            {},
        ),
    ],
)
def test_parts_that_do_not_fit_together(tmp_path, text, arrays):
    path = tmp_path / "encoder.safetensors"
    path.write_bytes(to_bytes(arrays, text))
    with pytest.raises(InvalidInputError, match=r"do not fit together|is not whole"):
        TableEncoder.load(path)


def test_missing_file(tmp_path):
    with pytest.raises(InvalidInputError, match="can't be read: No such file"):
        TableEncoder.load(tmp_path / "encoder.safetensors")
