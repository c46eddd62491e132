"""export_model: a table model or a blend as one file."""

from __future__ import annotations

import io
import json
import logging
import re
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from jointrain.errors import InvalidInputError, MissingDependencyError, closest
from jointrain.exporting._inputs import Inputs
from jointrain.tables import BlendedModel, TableModel
from jointrain.task import Task

if TYPE_CHECKING:
    import onnx

    from jointrain.exporting._graph import Graph

FORMATS = ("onnx", "torch-export")

_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
"""What colours a terminal."""


def export_model(
    model: TableModel | BlendedModel,
    path: str | Path,
    format: Literal["onnx", "torch-export"] = "onnx",
    *,
    quantize: Literal["int8"] | None = None,
    codes: bool = False,
) -> Inputs:
    """Write a model as a file that ONNX Runtime, or torch without jointrain, reads.

    Of ONNX the encoder is a part: the inputs are the table's columns, [n] each, by their names:
    numbers and truth values in double precision, NaN where missing, categories as text, "" where
    missing. The outputs are the predictions of each task as `predict` gives them. With torch the
    inputs are two: numbers and truth values, [n, c] in double precision, and codes of categories,
    [n, k], each in the order of the columns.

    Args:
        model: What is written.
        path: The file; replaced if it is there.
        format: ``onnx``, or ``torch-export``, what `torch.export.load` reads, of networks alone.
        quantize: ``int8`` keeps the networks' weights in 8 bits, which changes predictions.
        codes: Whether categories are given as codes, the places in the list that the file holds
            (-1 missing, others unknown), and not as text. With torch they always are.

    Returns:
        What the file takes.

    Raises:
        InvalidInputError: The model has what the format can't carry; it is named.
        MissingDependencyError: A package of the extra `export` is not installed.
    """
    if format not in FORMATS:
        raise InvalidInputError(
            f"format must be one of {', '.join(FORMATS)}, got {format!r}"
            f"{closest(str(format), FORMATS)}"
        )
    if quantize not in (None, "int8"):
        raise InvalidInputError(f"`quantize` must be int8 or nothing, got {quantize!r}")
    if format == "torch-export":
        if quantize is not None:
            raise InvalidInputError("int8 is for the format onnx; leave one of them out")
        return _export_torch(model, Path(path))
    for package in ("onnx", "onnxscript", "onnxruntime"):
        if find_spec(package) is None:
            raise MissingDependencyError(
                f"export needs the package {package}; pip install 'jointrain[export]'"
            )
    inputs = Inputs.of(model, as_codes=codes)
    made = onnx_model(model, inputs)
    if quantize == "int8":
        with _refusing("the model has networks that can't be written with weights of 8 bits"):
            made = _quantized(made)
    with _refusing("the model can't be written as ONNX"):
        content = made.SerializeToString()
    Path(path).write_bytes(content)
    return inputs


def onnx_model(model: TableModel | BlendedModel, inputs: Inputs) -> onnx.ModelProto:
    """Return the ONNX model.

    Raises:
        InvalidInputError: ONNX has no form for a part of it.
    """
    from jointrain.exporting._graph import Graph
    from jointrain.exporting._onnx_encoders import add_inputs

    graph = Graph([*inputs.kinds, *(task.name for task in model.predicted_tasks)])
    columns = add_inputs(graph, inputs)
    if isinstance(model, TableModel):
        predictions = _add_networks(graph, model, inputs, columns, "the model")
    else:
        predictions = _add_blend(graph, model, inputs, columns)
    for task in model.predicted_tasks:
        shape = task.in_table.prediction_shape()
        graph.output(task.name, predictions[task.name], shape)
    about = {
        **inputs.to_json(),
        "classes": {task.name: list(task.classes) for task in model.predicted_tasks},
    }
    with _refusing("the model has a part that ONNX has no form for"):
        return graph.model({"jointrain": json.dumps(about, ensure_ascii=False)})


def _add_blend(
    graph: Graph, model: BlendedModel, inputs: Inputs, columns: Mapping[str, str]
) -> dict[str, str]:
    from jointrain.exporting._onnx_baselines import add_baseline
    from jointrain.exporting._onnx_encoders import add_encoder

    used = {name for weights in model.weights.values() for name in weights}
    found: dict[str, dict[str, str]] = {}
    for name, component in model.components.items():
        if name not in used:
            continue
        if isinstance(component, TableModel):
            found[name] = _add_networks(graph, component, inputs, columns, f"component {name!r}")
        else:
            encoded = add_encoder(graph, component.encoder, inputs, columns)
            first = graph.op("Gather", encoded, graph.constant(0), axis=1)
            rows = graph.op("Mul", graph.cast(first, np.float64), graph.constant(0.0))
            found[name] = add_baseline(graph, component.model, name, encoded, rows)
    blended = {}
    for task in model.tasks:
        parts = [
            graph.op("Mul", found[name][task.name], graph.constant(weight, np.float64))
            for name, weight in model.weights[task.name].items()
        ]
        summed = parts[0] if len(parts) == 1 else graph.op("Sum", *parts)
        temperature = model.calibration.temperatures.get(task.name, 1.0)
        blended[task.name] = _add_temperature(graph, summed, temperature, task)
    return blended


def _add_temperature(graph: Graph, values: str, temperature: float, task: Task) -> str:
    """Return probabilities whose logarithms are divided by a temperature."""
    if temperature == 1:
        return values
    least, divisor = graph.constant(1e-12), graph.constant(temperature, np.float64)
    single = task.in_table.label_shape() or not task.in_table.prediction_shape()
    if not single:
        logarithms = graph.op("Log", graph.op("Max", values, least))
        return graph.op("Softmax", graph.op("Div", logarithms, divisor), axis=1)
    both = [graph.op("Sub", graph.constant(1.0), values), values]
    other, own = (graph.op("Log", graph.op("Max", one, least)) for one in both)
    return graph.op("Sigmoid", graph.op("Div", graph.op("Sub", own, other), divisor))


def _add_networks(
    graph: Graph, model: TableModel, inputs: Inputs, columns: Mapping[str, str], whose: str
) -> dict[str, str]:
    from jointrain.exporting._graph import OPSET
    from jointrain.exporting._network_module import NetworkModule
    from jointrain.exporting._onnx_encoders import add_encoder

    encoded = add_encoder(graph, model.encoder, inputs, columns)
    module = NetworkModule(model).eval()
    example = torch.zeros(3, len(model.encoder.feature_names))
    with _refusing(f"{whose} has a network that ONNX has no form for"), _quiet():
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["inputs"],
            dynamic_shapes=({0: torch.export.Dim("n")},),
            verbose=False,
        )
        assert program is not None
        values = graph.insert(program.model_proto, encoded)
    return dict(zip((task.name for task in module.tasks), values, strict=True))


@contextmanager
def _refusing(what: str) -> Iterator[None]:
    """Refuse in one line whatever an exporter raises; a disk's errors stay what they are."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:  # exporters raise of every kind
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise InvalidInputError(f"{what} ({_reason(cause)}); predict with jointrain") from error


def _reason(error: BaseException) -> str:
    """Return the first line of an error without what a terminal would not print."""
    text = _ESCAPE.sub("", str(error)).strip()
    line = text.splitlines()[0] if text else ""
    shown = "".join(one if one.isprintable() else " " for one in line)
    return ": ".join([type(error).__name__, *([" ".join(shown.split())[:200]] if shown else [])])


class _quiet:
    """Keep torch's exporter from printing what it does."""

    def __enter__(self) -> None:
        self._printed = ExitStack()
        self._printed.enter_context(redirect_stdout(StringIO()))
        self._printed.enter_context(redirect_stderr(StringIO()))
        self._warned = warnings.catch_warnings()
        self._warned.__enter__()
        warnings.simplefilter("ignore")
        self._level = logging.root.manager.disable
        logging.disable(logging.WARNING)

    def __exit__(self, *error: object) -> None:
        logging.disable(self._level)
        self._warned.__exit__(None, None, None)
        self._printed.close()


def _quantized(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model whose matrices have weights of 8 bits."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _quiet(), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "quantized.onnx"
        quantize_dynamic(
            model, path, weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul", "Gemm"]
        )
        return onnx.load(path)


def _export_torch(model: TableModel | BlendedModel, path: Path) -> Inputs:
    if not isinstance(model, TableModel):
        names = [name for name, one in model.components.items() if not isinstance(one, TableModel)]
        what = f"component {names[0]!r} is no network" if names else "the model is a blend"
        raise InvalidInputError(f"torch-export writes one recipe's networks, and {what}; use onnx")
    from jointrain.exporting._torch_encoder import WholeModule

    inputs = Inputs.of(model, as_codes=True)
    module = WholeModule(model, inputs).eval()
    rows = torch.export.Dim("n")
    what = "the model has a network that torch.export has no form for"
    with _refusing(what), _quiet():
        program = torch.export.export(
            module, module.example(), dynamic_shapes=({0: rows}, {0: rows}), strict=False
        )
    text = json.dumps(
        {**inputs.to_json(), "outputs": [task.name for task in module.networks.tasks]},
        ensure_ascii=False,
    )
    # torch says of a full disk what only it understands
    held = io.BytesIO()
    with _refusing(what), _quiet():
        torch.export.save(program, held, extra_files={"jointrain.json": text})
    path.write_bytes(held.getvalue())
    return inputs
