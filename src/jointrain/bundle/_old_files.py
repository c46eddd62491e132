"""Model files of bundles of schema 1, read without the libraries that wrote them.

skops archives, LightGBM's text and CatBoost's flat buffer hold arrays of numbers and much else.
What predictions need is looked up here: no class is named, nothing is built, and what lies outside
of a file is an error of Python's own.
"""

from __future__ import annotations

import io
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from tokenize import TokenError
from typing import Any

import numpy as np

from jointrain.baselines import SymmetricTrees, TreeEnsemble, trees_of_nodes
from jointrain.system.stored_files import DamagedError, json_from_bytes

_LARGEST_ARCHIVE = 1 << 30
"""Bytes that an archive unpacks to at most."""

_LEAF = -1
"""In place of the input of a node, and of a leaf's children."""

_ATTRIBUTES = ("coef_", "intercept_", "_predictors", "_baseline_prediction", "nodes")
"""What is read of objects of scikit-learn: linear models, gradient boosting and its trees."""

Arrays = dict[str, np.ndarray]


# ---------------------------------------------------------------------------- skops


def read_skops(data: bytes) -> Any:
    """Return what a file of skops holds: dictionaries, lists, arrays and plain values.

    An object is the dictionary of those of its attributes that predictions need, whatever its
    class; what is of any other form is None.

    Raises:
        DamagedError: It is no such file, or unpacks to more than 1 GiB.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            if sum(entry.file_size for entry in entries) > _LARGEST_ARCHIVE:
                raise DamagedError(f"it unpacks to more than {_LARGEST_ARCHIVE:,} bytes")
            if {entry.compress_type for entry in entries} - {
                zipfile.ZIP_STORED,
                zipfile.ZIP_DEFLATED,
            }:
                raise DamagedError("it is packed in another way")
            return _Skops(archive).value(json_from_bytes(archive.read("schema.json")))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError):
        raise DamagedError("it is no whole archive") from None


class _Skops:
    """The nodes of a file of skops."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self.archive = archive
        self.seen: dict[Any, Any] = {}
        """What was read, by its number: an object that comes again is only named."""

    def value(self, node: Any) -> Any:
        """Return what a node holds."""
        if node is None:
            return None
        found = self._read(node, node["__loader__"])
        self.seen[node.get("__id__")] = found
        return found

    def _read(self, node: Mapping[str, Any], loader: str) -> Any:
        if loader == "DictNode":
            return {name: self.value(inner) for name, inner in node["content"].items()}
        if loader in ("ListNode", "TupleNode"):
            return [self.value(inner) for inner in node["content"]]
        if loader == "ObjectNode":
            held = node["content"]["content"]
            return {name: self.value(held[name]) for name in _ATTRIBUTES if name in held}
        if loader == "JsonNode":
            return json_from_bytes(node["content"].encode())
        if loader == "NdArrayNode" and node["type"] == "numpy":
            return _array(self.archive.read(node["file"]))
        return self.seen[node["__id__"]] if loader == "CachedNode" else None


def _array(data: bytes) -> np.ndarray:
    """Return the array of a file of numpy, whose header must tell the size that it has."""
    stream = io.BytesIO(data)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[np.lib.format.read_magic(stream)]
    try:
        shape, by_column, dtype = read(stream)
    except (SyntaxError, TokenError, RecursionError):
        raise DamagedError("it holds an array without a header") from None
    if dtype.hasobject or not dtype.itemsize:
        raise DamagedError("it holds an array of objects")
    if math.prod(shape) * dtype.itemsize != len(data) - stream.tell():
        raise DamagedError("it holds an array of another size")
    found = np.frombuffer(data, dtype, offset=stream.tell())
    return found.reshape(shape, order="F" if by_column else "C")


# ---------------------------------------------------------------------------- scikit-learn


def lines_of(model: Mapping[str, Any]) -> Arrays:
    """Return a linear model, whose inputs were not standardised."""
    coefficients = np.atleast_2d(model["coef_"]).astype(np.float64)
    width = coefficients.shape[1]
    return {
        "mean": np.zeros(width),
        "scale": np.ones(width),
        "coefficients": coefficients,
        "intercept": np.atleast_1d(model["intercept_"]).astype(np.float64),
    }


def forest_of(nodes: np.ndarray, values: np.ndarray, counts: np.ndarray) -> Arrays:
    """Return a forest, whose prediction is the mean over its trees.

    Args:
        nodes: Of all trees, one behind the other, as scikit-learn has them.
        values: Of all nodes.
        counts: Nodes of each tree.

    Shape:
        nodes: [n]. values: [n, 1, k]. counts: [m].
    """
    values = values.reshape(len(values), -1) / len(counts)
    trees = TreeEnsemble(
        starts=np.concatenate([[0], counts]).cumsum(dtype=np.int64),
        outputs=np.zeros(len(counts), dtype=np.int64),
        feature=np.where(nodes["left_child"] == _LEAF, _LEAF, nodes["feature"]).astype(np.int32),
        threshold=nodes["threshold"].astype(np.float64),
        left=nodes["left_child"].astype(np.int32),
        right=nodes["right_child"].astype(np.int32),
        value=values.astype(np.float64),
        base=np.zeros(values.shape[1]),
    )
    return trees.to_arrays()


def boosting_of(model: Mapping[str, Any]) -> Arrays:
    """Return the trees of a histogram gradient boosting, without its link.

    Raises:
        DamagedError: A tree splits by categories.
    """
    steps = [[predictor["nodes"] for predictor in step] for step in model["_predictors"]]
    if any(nodes["is_categorical"].any() for step in steps for nodes in step):
        raise DamagedError("a tree splits by categories")
    return trees_of_nodes(steps, model["_baseline_prediction"]).to_arrays()


# ---------------------------------------------------------------------------- LightGBM


def lightgbm_of(data: bytes) -> Arrays:
    """Return the trees in a text of LightGBM, without their link.

    Raises:
        DamagedError: It is no such text, or holds trees that version 0.1 never made.
    """
    head, *texts = re.split(r"^Tree=\d+$", data.decode(), flags=re.MULTILINE)
    settings = _settings(head)
    each = int(settings["num_tree_per_iteration"])
    wanted = ("regression", "binary sigmoid:1", f"multiclass num_class:{each}")
    if settings["objective"] not in wanted or "average_output" in settings:
        raise DamagedError("it is a model of another kind")
    if not 1 <= each <= len(texts):
        raise DamagedError("it has fewer trees than classes")
    trees = [_lightgbm_tree(_settings(text)) for text in texts]
    outputs = [index % each for index in range(len(trees))]
    return TreeEnsemble.of(trees, outputs, [0.0] * each).to_arrays()


def _settings(text: str) -> dict[str, str]:
    """Return the lines ``name=value`` of a text; a line without a value has none."""
    return dict(line.partition("=")[::2] for line in text.splitlines())


def _lightgbm_tree(told: Mapping[str, str]) -> dict[str, np.ndarray]:
    def numbers(name: str, dtype: type) -> Any:
        return np.array(told.get(name, "").split(), dtype=dtype)

    leaves = np.array(told["leaf_value"].split(), dtype=np.float64)
    feature, threshold = numbers("split_feature", np.int32), numbers("threshold", np.float64)
    kinds = numbers("decision_type", np.int64)
    sides = [numbers(name, np.int64) for name in ("left_child", "right_child")]
    # bit 0: by categories; bits 2 and 3: which values are missing, 1 being zeros
    if (kinds & 1).any() or (kinds >> 2 & 3 == 1).any() or told.get("is_linear", "0") != "0":
        raise DamagedError("its trees are of another kind")
    none = np.full(len(leaves), _LEAF)
    # leaves are numbered apart, as -1 - number
    left, right = (np.where(side < 0, len(feature) - 1 - side, side) for side in sides)
    return {
        "feature": np.concatenate([feature, none]),
        "threshold": np.concatenate([threshold, np.zeros(len(leaves))]),
        "left": np.concatenate([left, none]),
        "right": np.concatenate([right, none]),
        "value": np.concatenate([np.zeros(len(feature)), leaves])[:, None],
    }


# ---------------------------------------------------------------------------- CatBoost


def catboost_of(data: bytes) -> Arrays:
    """Return the symmetric trees in a binary file of CatBoost, without their link.

    Raises:
        DamagedError: It is no such file, or holds trees that version 0.1 never made.
    """
    if data[:4] != b"CBM1":
        raise DamagedError("it is no model of CatBoost")
    buffer = data[8:]
    core = _Table(buffer, _number(buffer, "<I", 0))
    model = core.table(1)
    if any(len(model.array(index, "V4")) for index in (6, 7, 10, 13)):
        raise DamagedError("its trees are of another kind")
    feature, border = [], []
    for one in model.tables(5):  # each number with all borders that trees split it by
        borders = one.array(3, "<f4")
        border.append(borders)
        feature.append(np.full(len(borders), one.number(2, "<i", -1)))
    splits, depth = model.array(1, "<i4"), model.array(2, "<i4").astype(np.int64)
    width = model.number(0, "<i", 0)
    if (depth < 0).any() or (depth > 16).any() or depth.sum() != len(splits) or width < 1:
        raise DamagedError("its trees are not whole")
    if (splits < 0).any():
        raise DamagedError("a tree splits by a border that is not there")
    used = np.arange(max(1, depth.max(initial=0))) < depth[:, None]
    features, borders = np.zeros(used.shape, np.int32), np.zeros(used.shape, np.float32)
    features[used] = np.concatenate([np.zeros(0, np.int64), *feature])[splits]
    borders[used] = np.concatenate([np.zeros(0, np.float32), *border])[splits]
    bias = model.array(16, "<f8")
    if not len(bias):
        bias = np.full(width, model.number(15, "<d", 0.0))
    trees = SymmetricTrees(
        starts=np.concatenate([[0], 1 << depth]).cumsum(dtype=np.int64),
        feature=features,
        border=borders,
        depth=depth,
        value=model.array(8, "<f8").reshape(-1, width) * model.number(14, "<d", 1.0),
        base=bias.copy(),
    )
    return trees.to_arrays()


class _Table:
    """A table of a flat buffer: fields by number, each of which may be absent.

    https://flatbuffers.dev/internals: the table tells where its places are listed; a field that is
    no number is told by how far behind it lies.
    """

    def __init__(self, data: bytes, place: int) -> None:
        self.data, self.place = data, place
        self.list = place - _number(data, "<i", place)

    def _field(self, index: int) -> int | None:
        if 4 + 2 * index >= _number(self.data, "<H", self.list):
            return None
        offset = _number(self.data, "<H", self.list + 4 + 2 * index)
        return self.place + offset if offset else None

    def number(self, index: int, form: str, default: Any) -> Any:
        """Return a number."""
        place = self._field(index)
        return default if place is None else _number(self.data, form, place)

    def _target(self, index: int) -> int | None:
        place = self._field(index)
        return None if place is None else place + _number(self.data, "<I", place)

    def table(self, index: int) -> _Table:
        """Return a table that must be there."""
        place = self._target(index)
        if place is None:
            raise DamagedError("it holds no trees")
        return _Table(self.data, place)

    def array(self, index: int, dtype: str) -> np.ndarray:
        """Return numbers; none if the field is absent."""
        place = self._target(index)
        if place is None:
            return np.zeros(0, dtype)
        return np.frombuffer(self.data, dtype, _number(self.data, "<I", place), place + 4)

    def tables(self, index: int) -> Sequence[_Table]:
        """Return tables; none if the field is absent."""
        place = self._target(index)
        offsets = self.array(index, "<u4").astype(np.int64).tolist()
        return [
            _Table(self.data, (place or 0) + 4 + 4 * number + offset)
            for number, offset in enumerate(offsets)
        ]


def _number(data: bytes, form: str, place: int) -> Any:
    """Return a number in bytes; one that is not inside of them is an error."""
    if place < 0:
        raise DamagedError("it is not whole")
    try:
        return struct.unpack_from(form, data, place)[0]
    except struct.error:
        raise DamagedError("it is not whole") from None
