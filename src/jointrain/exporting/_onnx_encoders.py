"""Encoders as nodes of an ONNX graph."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from jointrain.data import Block, TableEncoder
from jointrain.exporting._graph import ML, Graph
from jointrain.exporting._inputs import FIRST, MISSING, UNSEEN, Inputs, outputs_of, table_of_values

_LARGEST = 1e150
_PLAIN_LARGEST = 3e38


def add_inputs(graph: Graph, inputs: Inputs) -> dict[str, str]:
    """Add an input for each column; return values: numbers [n], or rows of a table of values."""
    found = {}
    for name, kind in inputs.kinds.items():
        if kind == "number":
            found[name] = graph.input(name, np.float64)
        elif kind == "boolean":
            given = graph.input(name, np.float64)
            known = graph.op("Where", graph.op("IsNaN", given), graph.constant(-1.0), given)
            code = graph.op("Add", graph.cast(known, np.int64), graph.constant(FIRST))
            found[name] = _within(graph, code, FIRST + 2, MISSING)
        elif inputs.as_codes:
            given = graph.input(name, np.int64)
            code = graph.op("Add", given, graph.constant(FIRST))
            found[name] = _within(graph, code, FIRST + len(inputs.values[name]), UNSEEN)
        else:
            values = list(inputs.values[name])
            keys = values if "" in values else ["", *values]
            codes = [FIRST + place for place in range(len(values))]
            found[name] = graph.op(
                "LabelEncoder",
                graph.input(name, str),
                domain=ML,
                keys_strings=keys,
                values_int64s=codes if "" in values else [MISSING, *codes],
                default_int64=UNSEEN,
            )
    return found


def _within(graph: Graph, code: str, end: int, otherwise: int) -> str:
    """Return codes of a table's rows, others replaced."""
    low = graph.op("Less", code, graph.constant(MISSING))
    high = graph.op("GreaterOrEqual", code, graph.constant(end))
    return graph.op("Where", graph.op("Or", low, high), graph.constant(otherwise), code)


def add_encoder(
    graph: Graph, encoder: TableEncoder, inputs: Inputs, columns: Mapping[str, str]
) -> str:
    """Return the value that holds what an encoder makes of the columns, [n, d].

    Args:
        graph: What is added to.
        encoder: The encoder.
        inputs: Of the model.
        columns: What `add_inputs` returned.
    """
    plain = encoder.dtype == np.float64
    parts: list[str] = []
    places: list[int] = []
    start = 0
    for block in encoder.blocks:
        if block.kind == "numeric":
            values, marks, marked = _numbers(graph, block, columns, plain=plain)
            parts.append(graph.cast(values, encoder.dtype))
            places += range(start, start + len(block.names))
            if marked:
                parts.append(graph.cast(marks, encoder.dtype))
                places += range(start + len(block.names), start + len(block.features))
        else:
            for name in block.names:
                table = graph.constant(table_of_values(block, name, inputs), encoder.dtype)
                parts.append(graph.op("Gather", table, columns[name], axis=0))
                places += [start + place for place in outputs_of(block, name)]
        start += len(block.features)
    joined = graph.op("Concat", *parts, axis=1)
    if places != sorted(places):
        joined = graph.op("Gather", joined, graph.constant(np.argsort(places)), axis=1)
    return joined if encoder.pieces is None else _with_pieces(graph, joined, encoder)


def _numbers(
    graph: Graph, block: Block, columns: Mapping[str, str], *, plain: bool
) -> tuple[str, str, bool]:
    """Return numbers [n, c] and marks of missing ones, and whether there are any marks."""
    settings, arrays = block.state()
    along = graph.constant([1])
    stacked = [graph.op("Unsqueeze", columns[name], along) for name in block.names]
    given = graph.op("Concat", *stacked, axis=1)
    missing = np.asarray(settings["missing"] if plain else arrays["missing"])
    absent = graph.op("IsNaN", given)
    marks = graph.op("Gather", absent, graph.constant(np.flatnonzero(missing)), axis=1)
    largest = min(_LARGEST, _PLAIN_LARGEST) if plain else _LARGEST
    values = graph.op("Clip", given, graph.constant(-largest), graph.constant(largest))
    if plain:
        medians = graph.constant(settings["medians"], np.float64)
        return graph.op("Where", absent, medians, values), marks, bool(missing.any())
    values = graph.op("Sub", values, graph.constant(arrays["center"]))
    values = graph.op("Mul", values, graph.constant(arrays["scale"]))
    values = graph.op("Where", absent, graph.constant(0.0), values)
    values = graph.op("Clip", values, graph.constant(-1e6), graph.constant(1e6))
    third = graph.op("Div", values, graph.constant(3.0))
    squares = graph.op("Add", graph.constant(1.0), graph.op("Mul", third, third))
    return graph.op("Div", values, graph.op("Sqrt", squares)), marks, bool(missing.any())


def _with_pieces(graph: Graph, joined: str, encoder: TableEncoder) -> str:
    """Return the encoding with the places in bins behind it."""
    pieces = encoder.pieces
    assert pieces is not None
    if not len(pieces.column):
        return joined
    dtype = encoder.dtype
    lower, upper = pieces.edges.astype(dtype)
    passed = graph.op("Gather", joined, graph.constant(pieces.column), axis=1)
    passed = graph.op("Sub", passed, graph.constant(lower))
    passed = graph.op("Div", passed, graph.constant(upper - lower))
    low = np.where(pieces.ends[0], -np.inf, 0).astype(dtype)
    high = np.where(pieces.ends[1], np.inf, 1).astype(dtype)
    passed = graph.op("Max", passed, graph.constant(low))
    return graph.op("Concat", joined, graph.op("Min", passed, graph.constant(high)), axis=1)
