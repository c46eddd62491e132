"""Baselines as nodes of an ONNX graph: constants, lines, kernels and trees."""

from __future__ import annotations

from typing import Any

import numpy as np

from jointrain.baselines import (
    KERNELS,
    ROUNDING,
    BaselineModel,
    ExportedTask,
    KernelFunctions,
    SymmetricTrees,
    TreeEnsemble,
)
from jointrain.errors import InvalidInputError
from jointrain.exporting._graph import ML, Graph
from jointrain.task import Task


def add_baseline(
    graph: Graph, model: BaselineModel, name: str, encoded: str, rows: str
) -> dict[str, str]:
    """Return the values that hold a baseline's predictions, by task.

    Args:
        graph: What is added to.
        model: The fitted baseline.
        name: Of the component, for messages.
        encoded: The value with its inputs, [n, d].
        rows: A value with zeros in double precision, [n].

    Raises:
        InvalidInputError: ONNX has no form for it.
    """
    found = {}
    for task, told in zip(model.tasks, model.exported(), strict=True):
        if told is None:
            raise InvalidInputError(
                f"component {name!r} predicts {task.name!r} in a way that ONNX has no form for; "
                "predict with jointrain, or fit without that baseline"
            )
        found[task.name] = _prediction(graph, told, task, encoded, rows)
    return found


def _prediction(graph: Graph, told: ExportedTask, task: Task, encoded: str, rows: str) -> str:
    if told.constant is not None:
        column = graph.op("Unsqueeze", rows, graph.constant([1]))
        values = graph.op("Add", column, graph.constant(told.constant[None, :], np.float64))
        return _from_columns(graph, values, task)
    given = graph.cast(graph.cast(encoded, np.float32), np.float64) if told.single else encoded
    values = _sums(graph, told.model, given)
    if told.columns is not None:
        values = graph.op("Gather", values, graph.constant(np.asarray(told.columns)), axis=1)
    if told.link == "exp":
        values = graph.op("Exp", values)
    elif told.link == "logistic":
        positive = graph.op("Sigmoid", values)
        values = graph.op(
            "Concat", graph.op("Sub", graph.constant(1.0), positive), positive, axis=1
        )
    elif told.link == "softmax":
        values = graph.op("Softmax", values, axis=1)
    if told.scale != (0.0, 1.0):
        mean, deviation = told.scale
        values = graph.op("Mul", values, graph.constant(deviation, np.float64))
        values = graph.op("Add", values, graph.constant(mean, np.float64))
    if not task.has_classes:
        if told.floor:
            values = graph.op("Max", values, graph.constant(0.0))
        return graph.op("Squeeze", values, graph.constant([1]))
    # classes that the rows did not hold have probability 0
    placed = np.zeros((len(told.present), len(task.classes)))
    placed[np.arange(len(told.present)), told.present] = 1
    values = graph.op("MatMul", values, graph.constant(placed))
    return _from_columns(graph, values, task)


def _from_columns(graph: Graph, values: str, task: Task) -> str:
    if task.in_table.prediction_shape():
        return values
    column = 1 if task.has_classes else 0
    return graph.op("Gather", values, graph.constant(column), axis=1)


def _sums(graph: Graph, model: Any, given: str) -> str:
    if isinstance(model, SymmetricTrees):
        model = model.as_ensemble()
    if isinstance(model, TreeEnsemble):
        return _trees(graph, model, given)
    values = graph.op("Sub", given, graph.constant(model.mean))
    values = graph.op("Div", values, graph.constant(model.scale))
    if isinstance(model, KernelFunctions):
        kernels = graph.op(
            "MatMul", _kernels(graph, model, values), graph.constant(model.coefficients)
        )
        return graph.op("Add", kernels, graph.constant(model.intercept))
    values = graph.op("MatMul", values, graph.constant(model.coefficients.T))
    return graph.op("Add", values, graph.constant(model.intercept))


def _kernels(graph: Graph, model: KernelFunctions, values: str) -> str:
    """Return the kernels of scaled rows around the centres, [n, m]."""
    along = graph.constant([1])
    lengths = graph.op("ReduceSum", graph.op("Mul", values, values), along, keepdims=1)
    lengths = graph.op("Add", lengths, graph.constant((model.centres**2).sum(1)[None]))
    products = graph.op("MatMul", values, graph.constant(2 * model.centres.T))
    distances = graph.op("Sub", lengths, products)
    rounding = graph.op("Less", distances, graph.op("Mul", lengths, graph.constant(ROUNDING)))
    distances = graph.op("Where", rounding, graph.constant(0.0), distances)
    if KERNELS[int(model.kind[0])] == "exponential":
        distances = graph.op("Sqrt", distances)
    return graph.op("Exp", graph.op("Neg", distances))


def _trees(graph: Graph, trees: TreeEnsemble, given: str) -> str:
    """Return the sums of an ensemble, [n, outputs]: thresholds are compared as predict does it."""
    from onnx import numpy_helper

    sizes = np.diff(trees.starts)
    tree = np.repeat(np.arange(len(sizes)), sizes)
    node = np.arange(len(tree)) - np.repeat(trees.starts[:-1], sizes)
    leaf = trees.feature < 0
    width = trees.value.shape[1]
    targets = trees.outputs[tree[leaf]][:, None] + np.arange(width)
    weights, base = trees.value[leaf], trees.base
    if width == 1:
        # the operator adds up in single precision: what is far from 0 is left to the base
        means = np.bincount(tree[leaf], weights[:, 0]) / np.bincount(tree[leaf])
        weights = weights - means[tree[leaf], None]
        base = base + np.bincount(trees.outputs, means, len(base))
    sums = graph.op(
        "TreeEnsembleRegressor",
        given,
        domain=ML,
        n_targets=len(trees.base),
        aggregate_function="SUM",
        post_transform="NONE",
        nodes_treeids=tree.tolist(),
        nodes_nodeids=node.tolist(),
        nodes_featureids=np.where(leaf, 0, trees.feature).tolist(),
        nodes_modes=["LEAF" if is_leaf else "BRANCH_LEQ" for is_leaf in leaf.tolist()],
        nodes_truenodeids=np.where(leaf, 0, trees.left).tolist(),
        nodes_falsenodeids=np.where(leaf, 0, trees.right).tolist(),
        nodes_values_as_tensor=numpy_helper.from_array(np.where(leaf, 0.0, trees.threshold)),
        target_treeids=np.repeat(tree[leaf], width).tolist(),
        target_nodeids=np.repeat(node[leaf], width).tolist(),
        target_ids=targets.ravel().tolist(),
        target_weights_as_tensor=numpy_helper.from_array(weights.ravel()),
    )
    # in double precision outside, as the operator's answer is in single
    return graph.op("Add", graph.cast(sums, np.float64), graph.constant(base))
