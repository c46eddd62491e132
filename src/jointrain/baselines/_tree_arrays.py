"""Ensembles of trees as plain arrays: checked once, then read by numpy alone.

The libraries' own files can crash a process or keep it busy for ever when somebody has changed
them, and some of their readers build objects. Arrays of numbers are checked whole before use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

import numpy as np

from jointrain.system.stored_files import DamagedError

LEAF = -1
"""In place of the input that a node looks at."""

_DEEPEST = 4096
"""Levels of a tree at most: each takes a step in prediction."""

_MOST_TREES = 1_000_000
"""Trees of an ensemble at most: each takes a few steps in prediction, however small it is."""

_ROWS = 8192
"""Rows that are led through a tree at a time: their numbers stay in the cache."""


def rising(values: np.ndarray) -> bool:
    """Return whether each number is larger than the one before.

    Differences would not tell: those of whole numbers far apart begin again at the other end.
    """
    return bool((values[1:] > values[:-1]).all())


@dataclass(frozen=True)
class Arrays:
    """Arrays with fixed names and types."""

    dtypes: ClassVar[Mapping[str, type]]

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], inputs: int) -> Self:
        """Return what `to_arrays` gave, after checking that no prediction reads outside of it.

        Args:
            arrays: The arrays by name.
            inputs: Number of inputs that it was fitted to.

        Raises:
            DamagedError: The arrays hold something else.
        """
        if set(arrays) != set(cls.dtypes):
            raise DamagedError("its arrays have other names")
        for name, dtype in cls.dtypes.items():
            if arrays[name].dtype != dtype:
                raise DamagedError(f"its array {name!r} has another type")
            if np.issubdtype(dtype, np.floating) and not np.isfinite(arrays[name]).all():
                raise DamagedError(f"its array {name!r} holds a value that is no number")
        made = cls(**arrays)
        made._check(inputs)
        return made

    def _check(self, inputs: int) -> None:
        raise NotImplementedError


@dataclass(frozen=True)
class TreeEnsemble(Arrays):
    """Trees that each look at one input in a node; their values are added up.

    Args:
        starts: Where each tree's nodes begin, and the end of the last.
        outputs: The output that each tree's first value is added to.
        feature: The input that a node looks at, `LEAF` in a leaf.
        threshold: Up to this value, included, the way leads to the left.
        left, right: The children's numbers in their tree, higher than the node's own.
        value: What a leaf adds.
        base: What the sum begins with.

    Shape:
        starts: [m + 1] for m trees. outputs: [m]. feature, threshold, left, right: [nodes].
        value: [nodes, k]. base: [outputs].
    """

    starts: np.ndarray
    outputs: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    value: np.ndarray
    base: np.ndarray

    dtypes: ClassVar[Mapping[str, type]] = {
        "starts": np.int64, "outputs": np.int64, "feature": np.int32, "threshold": np.float64,
        "left": np.int32, "right": np.int32, "value": np.float64, "base": np.float64,
    }  # fmt: skip

    @classmethod
    def of(
        cls,
        trees: Sequence[Mapping[str, np.ndarray]],
        outputs: Sequence[int],
        base: Sequence[float],
    ) -> Self:
        """Return the ensemble of trees given one by one.

        Args:
            trees: Each with ``feature``, ``threshold``, ``left``, ``right`` and ``value``.
            outputs: The output that each is added to.
            base: What the sum begins with.
        """
        joined: dict[str, Any] = {
            name: np.concatenate([np.asarray(tree[name]) for tree in trees]).astype(dtype)
            for name, dtype in cls.dtypes.items()
            if name in ("feature", "threshold", "left", "right", "value")
        }
        counts = [len(tree["feature"]) for tree in trees]
        return cls(
            starts=np.cumsum([0, *counts], dtype=np.int64),
            outputs=np.asarray(outputs, dtype=np.int64),
            base=np.asarray(base, dtype=np.float64),
            **joined,
        )

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """Return the sums, [n, outputs].

        Args:
            inputs: Finite numbers, in the precision in which they are to be compared.

        Shape:
            inputs: [n, d].
        """
        total = np.tile(self.base, (len(inputs), 1))
        width = self.value.shape[1]
        for start in range(0, len(inputs), _ROWS):
            part = np.ascontiguousarray(inputs[start : start + _ROWS])
            sums = total[start : start + _ROWS]
            for index, output in enumerate(self.outputs.tolist()):
                nodes = slice(int(self.starts[index]), int(self.starts[index + 1]))
                sums[:, output : output + width] += self.value[nodes][self._leaves(part, nodes)]
        return total

    def _leaves(self, inputs: np.ndarray, nodes: slice) -> np.ndarray:
        """Return the leaf of one tree that each row ends in, [n]."""
        feature, threshold = self.feature[nodes], self.threshold[nodes]
        children = np.stack([self.right[nodes], self.left[nodes]])
        place = np.zeros(len(inputs), dtype=np.intp)
        flat, width = inputs.reshape(-1), inputs.shape[1]
        on_way = np.arange(len(inputs)) if feature[0] != LEAF else np.arange(0)
        at = place[on_way]
        while len(on_way):
            left = flat.take(on_way * width + feature.take(at)) <= threshold.take(at)
            at = children[left.view(np.int8), at].astype(np.intp)
            place[on_way] = at
            inner = feature.take(at) != LEAF
            if not inner.all():
                on_way, at = on_way[inner], at[inner]
        return place

    def _check(self, inputs: int) -> None:
        if self.outputs.ndim != 1 or self.feature.ndim != 1 or self.starts.ndim != 1:
            raise DamagedError("its arrays are no trees")
        trees, nodes = len(self.outputs), len(self.feature)
        if self.starts.shape != (trees + 1,) or self.base.ndim != 1:
            raise DamagedError("its arrays are no trees")
        if not 1 <= trees <= _MOST_TREES:
            raise DamagedError(f"it has not 1 to {_MOST_TREES:,} trees")
        if self.starts[0] != 0 or self.starts[-1] != nodes or not rising(self.starts):
            raise DamagedError("its trees do not fill its arrays")
        if (
            self.value.ndim != 2
            or not self.value.shape[1]
            or any(
                array.shape[:1] != (nodes,) or array.ndim != 1 + (array is self.value)
                for array in (self.threshold, self.left, self.right, self.value)
            )
        ):
            raise DamagedError("its trees have not a value for each node")
        last = len(self.base) - self.value.shape[1]
        if (self.outputs < 0).any() or (self.outputs > last).any():
            raise DamagedError("a tree adds to an output that is not there")
        if (self.feature < LEAF).any() or (self.feature >= inputs).any():
            raise DamagedError("a tree splits by an input that is not there")
        self._check_nodes(np.diff(self.starts))

    def _check_nodes(self, sizes: np.ndarray) -> None:
        """Refuse nodes that are not each the child of one other node, and ways without an end."""
        roots = self.starts[:-1]
        inner = np.flatnonzero(self.feature != LEAF)
        first = np.repeat(roots, sizes)
        children = np.concatenate([self.left[inner], self.right[inner]]).astype(np.int64)
        parents = np.concatenate([inner, inner])
        if ((children < 0) | (children >= np.repeat(sizes, sizes)[parents])).any():
            raise DamagedError("the nodes of a tree do not form a tree")
        children += first[parents]
        expected = np.ones(len(self.feature), dtype=np.int64)
        expected[roots] = 0
        counts = np.bincount(children, minlength=len(expected))
        if (children <= parents).any() or (counts != expected).any():
            raise DamagedError("the nodes of a tree do not form a tree")
        level = roots
        for _ in range(_DEEPEST):
            level = level[self.feature[level] != LEAF]
            if not len(level):
                return
            at = first[level]
            level = np.concatenate([self.left[level] + at, self.right[level] + at])
        raise DamagedError(f"a tree has more than {_DEEPEST} levels")


@dataclass(frozen=True)
class SymmetricTrees(Arrays):
    """Trees that look at the same input in all nodes of a level, as CatBoost's.

    Args:
        starts: Where each tree's leaves begin, and the end of the last.
        feature: The input of each level; 0 in levels that a tree has not.
        border: Above it the level's bit of the leaf's number is 1.
        depth: Number of levels of each tree.
        value: What each leaf adds.
        base: What the sum begins with.

    Shape:
        starts: [m + 1] for m trees. feature, border: [m, levels]. depth: [m]. value: [leaves, k].
        base: [k].
    """

    starts: np.ndarray
    feature: np.ndarray
    border: np.ndarray
    depth: np.ndarray
    value: np.ndarray
    base: np.ndarray

    dtypes: ClassVar[Mapping[str, type]] = {
        "starts": np.int64, "feature": np.int32, "border": np.float32, "depth": np.int64,
        "value": np.float64, "base": np.float64,
    }  # fmt: skip

    def as_ensemble(self) -> TreeEnsemble:
        """Return the same as trees of nodes; inputs are to be compared in single precision."""
        trees = []
        for tree, (first, depth) in enumerate(
            zip(self.starts.tolist(), self.depth.tolist(), strict=False)
        ):
            inner, leaves = (1 << depth) - 1, 1 << depth
            # a node of level l is one of 2^l, whose bits say which borders were passed
            level = np.repeat(np.arange(depth), 1 << np.arange(depth)).astype(np.int64)
            passed = np.arange(inner) - ((1 << level) - 1)
            below = (1 << (level + 1)) - 1 + passed
            value = np.zeros((inner + leaves, self.value.shape[1]))
            value[inner:] = self.value[first : first + leaves]
            none = np.full(leaves, LEAF)
            trees.append(
                {
                    "feature": np.concatenate([self.feature[tree, level], none]),
                    "threshold": np.concatenate([self.border[tree, level], np.zeros(leaves)]),
                    "left": np.concatenate([below, none]),
                    "right": np.concatenate([below + (1 << level), none]),
                    "value": value,
                }
            )
        return TreeEnsemble.of(trees, [0] * len(trees), self.base.tolist())

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """Return the sums, [n, k].

        Shape:
            inputs: [n, d], finite.
        """
        total = np.tile(self.base, (len(inputs), 1))
        for start in range(0, len(inputs), _ROWS):
            columns = np.ascontiguousarray(inputs[start : start + _ROWS].T, dtype=np.float32)
            sums = total[start : start + _ROWS]
            for tree, (first, depth) in enumerate(
                zip(self.starts.tolist(), self.depth.tolist(), strict=False)
            ):
                # the smallest numbers that hold a leaf: most of the time goes into moving them
                smallest = np.dtype(np.uint8 if depth <= 8 else np.uint32)
                leaf = np.zeros(columns.shape[1], dtype=smallest)
                for level in range(depth):
                    above = columns[self.feature[tree, level]] > self.border[tree, level]
                    leaf |= above.astype(smallest) << level
                sums += self.value[first : first + (1 << depth)][leaf]
        return total

    def _check(self, inputs: int) -> None:
        trees = len(self.depth)
        if (
            self.depth.ndim != 1
            or not 1 <= trees <= _MOST_TREES
            or self.starts.shape != (trees + 1,)
            or self.feature.shape[:1] != (trees,)
        ):
            raise DamagedError("its arrays are no trees")
        if self.feature.ndim != 2 or self.border.shape != self.feature.shape:
            raise DamagedError("its trees have not a border for each level")
        if self.value.ndim != 2 or not len(self.base) or self.base.shape != self.value.shape[1:]:
            raise DamagedError("its leaves have other outputs")
        if (self.depth < 0).any() or (self.depth > min(self.feature.shape[1], 30)).any():
            raise DamagedError("a tree has more levels than are there")
        sizes = np.diff(self.starts)
        if (
            self.starts[0] != 0
            or self.starts[-1] != len(self.value)
            or not rising(self.starts)
            or (sizes != 1 << self.depth).any()
        ):
            raise DamagedError("its trees have not a value for each leaf")
        if (self.feature < 0).any() or (self.feature >= inputs).any():
            raise DamagedError("a tree splits by an input that is not there")
