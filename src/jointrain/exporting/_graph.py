"""An ONNX graph that is put together node by node."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

OPSET, ML_OPSET, IR = 18, 3, 9
ML = "ai.onnx.ml"


class Graph:
    """Nodes, constants, inputs and outputs; each value has a name of its own.

    Args:
        taken: Names of the inputs and outputs, which no other value may have.
    """

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = frozenset(taken)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self._number = 0

    def name(self, what: str) -> str:
        """Return a name that nothing has."""
        self._number += 1
        while f"{what}_{self._number}" in self._taken:
            self._number += 1
        return f"{what}_{self._number}"

    def constant(self, values: Any, dtype: Any = None) -> str:
        """Return the name of an array."""
        name = self.name("constant")
        self.constants.append(numpy_helper.from_array(np.array(values, dtype=dtype), name))
        return name

    def op(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Return the name of what an operator makes of values."""
        name = self.name(kind.lower())
        self.nodes.append(helper.make_node(kind, [*inputs], [name], domain=domain, **attributes))
        return name

    def cast(self, value: str, dtype: Any) -> str:
        """Return a value in another type."""
        return self.op("Cast", value, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def input(self, name: str, dtype: Any) -> str:
        """Add an input, [n]."""
        kind = onnx.TensorProto.STRING
        if dtype is not str:
            kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        self.inputs.append(helper.make_tensor_value_info(name, kind, ["n"]))
        return name

    def output(self, name: str, value: str, shape: tuple[int, ...]) -> None:
        """Add an output in double precision, [n, ...]."""
        self.nodes.append(helper.make_node("Identity", [value], [name]))
        kind = onnx.TensorProto.DOUBLE
        self.outputs.append(helper.make_tensor_value_info(name, kind, ["n", *shape]))

    def insert(self, model: onnx.ModelProto, value: str) -> list[str]:
        """Put in the graph of another model with one input; return the names of its outputs.

        It is checked by itself first: an error of the whole would not tell whose part it is.
        """
        if len(model.functions):
            from onnx import inliner

            model = inliner.inline_local_functions(model)
        onnx.checker.check_model(model)
        begin = self.name("network")
        while any(name.startswith(f"{begin}/") for name in self._taken):
            begin = self.name("network")
        (given,) = model.graph.input
        names = {"": "", given.name: value}

        def renamed(one: str) -> str:
            return names.setdefault(one, f"{begin}/{one}")

        for tensor in model.graph.initializer:
            copied = onnx.TensorProto()
            copied.CopyFrom(tensor)
            copied.name = renamed(tensor.name)
            self.constants.append(copied)
        for node in model.graph.node:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            copy.ClearField("input")
            copy.ClearField("output")
            copy.ClearField("metadata_props")
            copy.input.extend(renamed(one) for one in node.input)
            copy.output.extend(renamed(one) for one in node.output)
            copy.name = f"{begin}/{node.name}"
            self.nodes.append(copy)
        return [renamed(one.name) for one in model.graph.output]

    def model(self, about: dict[str, str]) -> onnx.ModelProto:
        """Return the whole, checked."""
        graph = helper.make_graph(
            self.nodes, "jointrain", self.inputs, self.outputs, self.constants
        )
        made = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(ML, ML_OPSET)],
            ir_version=IR,
            producer_name="jointrain",
        )
        helper.set_model_props(made, about)
        onnx.checker.check_model(made)
        return made
