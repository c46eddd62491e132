import io
import json
import zipfile
from typing import ClassVar

import numpy as np
import polars as pl
import pytest

from jointrain.data import TableEncoder, infer_columns, load_penguins
from jointrain.data._encoder_file import TRUSTED_TYPES, DamagedError, from_bytes, to_bytes
from jointrain.errors import InvalidInputError

skops_io = pytest.importorskip("skops.io")


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
    path = tmp_path / "encoder.skops"
    TableEncoder().fit(frame, infer_columns(frame, frame.columns), 0).save(path)
    return path


def repacked(data, change):
    """Return the file with its schema changed."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "schema.json":
                schema = json.loads(content)
                change(schema)
                content = json.dumps(schema).encode()
            new.writestr(name, content)
    return out.getvalue()


def test_round_trip():
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.array([True]), "c": np.array([], "f4")}
    text, found = from_bytes(to_bytes("größe", arrays))
    assert text == "größe"
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def test_skops_itself_trusts_all_that_is_in_the_file(saved):
    assert skops_io.get_untrusted_types(data=saved.read_bytes()) == []


def test_cut_file(saved):
    data = saved.read_bytes()
    for length in [0, 1, 100, len(data) // 2, len(data) - 1]:
        saved.write_bytes(data[:length])
        with pytest.raises(InvalidInputError, match=r"encoder\.skops is no whole encoder file"):
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


@pytest.mark.parametrize(
    "content",
    [
        Malicious,
        lambda: {"text": "{}", "arrays": {"a": Malicious()}},
        lambda: {"text": "{}", "arrays": {"a": np.array([Malicious()], dtype=object)}},
        lambda: {"text": "{}", "arrays": {"a": print}},
        lambda: {"text": "{}", "arrays": np.random.default_rng(0)},
        lambda: {"text": "{}", "arrays": {"a": np.dtype("f4")}},
        lambda: {1: 2},
        lambda: ("a", "b"),
    ],
)
def test_other_types_are_refused_and_not_built(tmp_path, content):
    path = tmp_path / "encoder.skops"
    value = content()
    path.write_bytes(skops_io.dumps(value))
    Malicious.marks.clear()
    with pytest.raises(InvalidInputError, match="it holds a"):
        TableEncoder.load(path)
    assert Malicious.marks == []


@pytest.mark.parametrize(
    "node, message",
    [
        ({"__module__": "os", "__class__": "system", "__loader__": "FunctionNode"}, "os.system"),
        (
            {"__module__": "builtins", "__class__": "dict", "__loader__": "ReduceNode"},
            "builtins.dict of an unknown form",
        ),
        ({"__loader__": "TypeNode"}, "it holds a None.None"),
        ({"__module__": ["x"], "__class__": {}, "__loader__": "TypeNode"}, "it holds a"),
        (
            {"__module__": "numpy", "__class__": "ndarray", "__loader__": "NdArrayNode"},
            "an array of objects",
        ),
    ],
)
def test_hand_made_nodes_are_refused(saved, node, message):
    def change(schema):
        schema["content"]["extra"] = {**node, "content": []}

    saved.write_bytes(repacked(saved.read_bytes(), change))
    with pytest.raises(InvalidInputError, match=message):
        TableEncoder.load(saved)


def test_pickled_array_is_not_unpickled(saved):
    stream = io.BytesIO()
    Malicious.marks.clear()
    np.save(stream, np.array([Malicious()], dtype=object), allow_pickle=True)
    out = io.BytesIO()
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            new.writestr(name, stream.getvalue() if name == "0.npy" else old.read(name))
    Malicious.marks.clear()
    with pytest.raises(DamagedError, match="it can't be read"):
        from_bytes(out.getvalue())
    assert Malicious.marks == []


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
    path = tmp_path / "encoder.skops"
    path.write_bytes(to_bytes(text, arrays))
    with pytest.raises(InvalidInputError, match="its parts do not fit together"):
        TableEncoder.load(path)


def test_missing_file(tmp_path):
    with pytest.raises(InvalidInputError, match="can't be read: No such file"):
        TableEncoder.load(tmp_path / "encoder.skops")


def test_the_list_of_trusted_types_is_short():
    assert TRUSTED_TYPES == ("builtins.dict", "builtins.list", "builtins.str", "numpy.ndarray")
