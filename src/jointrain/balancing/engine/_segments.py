"""Where passes can stop on their way through the shared part of a graph, and go on later.

All tasks pass through a segment before the next one is entered. So the gradients of its parameters
by all tasks are there together, none is kept, and a task passes no operation twice.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from torch.autograd.graph import GradientEdge

from jointrain.balancing.engine._boundary import Boundary, has_hook
from jointrain.balancing.engine._graph import (
    Graph,
    Leaf,
    Node,
    bytes_of,
    checkpoints_of,
    numbers_of,
)

_CARRIED = 0.25  # of what a segment's parameters fill: what is carried in and out comes on top


class Segment(NamedTuple):
    """A piece of the shared part.

    Attributes:
        starts: The edges at which passes enter it.
        ends: The edges below it, at which they stop; none for the last one.
        leaves: The parameters that it uses.
        inputs: Whether it uses leaf tensors that are no parameters.
        whole: Whether it holds checkpoints, which a second pass of a task would compute anew.
    """

    starts: list[GradientEdge]
    ends: list[GradientEdge]
    leaves: list[Leaf]
    inputs: bool
    whole: bool


def find_segments(
    graph: Graph,
    boundary: Boundary,
    leaves: Sequence[Leaf],
    inputs: Collection[Leaf],
    limit: float,
) -> list[Segment]:
    """Cut what lies below the boundary at nodes that are all that leads on.

    Args:
        graph: The graph of the losses.
        boundary: Where the shared part begins.
        leaves: The parameters whose gradients are wanted.
        inputs: Leaf tensors that are no parameters; one segment will have them all.
        limit: Bytes that a segment's parameters are to fill. Gradients that are carried over a cut
            may take a quarter of that, but checkpoints are cut apart whatever they take.
    """
    order = _in_order(graph, boundary)
    users, outputs = _users(graph, boundary, order)
    checkpoints = _checkpoints(order)
    together = [users[leaf.node] for leaf in inputs if leaf.node in users]
    of_inputs = (min(f for f, _ in together), max(n for _, n in together)) if together else (-1, -1)
    used = [users.get(leaf.node, (-1, -1)) for leaf in leaves]
    spans = [*checkpoints, *used, of_inputs]
    cuts = [0]
    sizes = [0] * (len(order) + 1)
    for leaf, (_, last) in zip(leaves, used, strict=True):
        sizes[max(last, 0)] += bytes_of(leaf)
    before = list(itertools.accumulate(sizes, initial=0))  # of the parameters used before a place
    possible = [
        place
        for place in _places(order, users, spans)
        if _between(place, checkpoints)
        or sum(map(_bytes_at, _edges(order[place], outputs))) <= _CARRIED * limit
    ]
    for place, following in itertools.pairwise([*possible, len(order)]):
        if before[following] - before[cuts[-1]] <= limit:
            continue  # what follows up to the next place fits as well
        parts = before[cuts[-1]] < before[place] < before[-1]
        if parts and not has_hook(_edges(order[place], outputs)):
            cuts.append(place)
    found = []
    for start, stop in itertools.pairwise([*cuts, len(order)]):
        inside = range(start, stop) if start else range(-1, stop)
        found.append(
            Segment(
                _edges(order[start], outputs) if start else boundary.edges,
                _edges(order[stop], outputs) if stop < len(order) else [],
                [x for x, (_, last) in zip(leaves, used, strict=True) if last in inside],
                bool(together) and of_inputs[1] in inside,
                any(first in inside for first, _ in checkpoints),
            )
        )
    return found


def _in_order(graph: Graph, boundary: Boundary) -> list[Node]:
    """Return the operations below the boundary, the last made first, as autograd takes them.

    So what is made of a layer's weight comes right after the layer.
    """
    below, _ = graph.below(boundary.edges)
    below |= {edge.node for edge in boundary.edges}
    nodes = [node for node in below if graph.children[node]]
    return sorted(nodes, key=lambda node: node._sequence_nr(), reverse=True)


def _users(
    graph: Graph, boundary: Boundary, order: Sequence[Node]
) -> tuple[dict[Node, tuple[int, int]], dict[Node, set[int]]]:
    """Return for each node the first and the last place that takes it, and which outputs.

    The boundary is place -1.
    """
    users = {edge.node: (-1, -1) for edge in boundary.edges}
    outputs: dict[Node, set[int]] = {}
    for edge in boundary.edges:
        outputs.setdefault(edge.node, set()).add(edge.output_nr)
    for place, node in enumerate(order):
        for child, number in graph.children[node]:
            if child is not None:
                users[child] = users.get(child, (place, place))[0], place
                outputs.setdefault(child, set()).add(number)
    return users, outputs


def _edges(node: Node, outputs: dict[Node, set[int]]) -> list[GradientEdge]:
    return [GradientEdge(node, number) for number in sorted(outputs[node])]


def _bytes_at(edge: GradientEdge) -> float:
    output = edge.node._input_metadata[edge.output_nr]
    return numbers_of(output) * int(output.dtype.itemsize)


def _checkpoints(order: Sequence[Node]) -> list[tuple[int, int]]:
    """Return the first and the last place of what each checkpoint computes anew."""
    spans: dict[int, tuple[int, int]] = {}
    for place, node in enumerate(order):
        for key in checkpoints_of(node):
            spans[key] = spans.get(key, (place, place))[0], place
    return list(spans.values())


def _between(place: int, checkpoints: Sequence[tuple[int, int]]) -> bool:
    """Return whether one checkpoint ends before the place, and another begins there or later."""
    ended = any(last < place for _, last in checkpoints)
    return ended and any(first >= place for first, _ in checkpoints)


def _places(
    order: Sequence[Node], users: dict[Node, tuple[int, int]], spans: Iterable[tuple[int, int]]
) -> list[int]:
    """Return the places above 0 whose node is all that what comes before takes of the rest.

    Args:
        order: The operations.
        users: The first and the last place that takes each of them.
        spans: First and last places between which is not to be cut.
    """
    change = [0] * (len(order) + 1)
    reaches = [(users[node][0], place) for place, node in enumerate(order)]
    for first, last in (*reaches, *spans):
        if first > last:
            return []  # taken before it was made, by the counters of another thread
        change[first + 1] += 1
        change[last + 1] -= 1
    counts = list(itertools.accumulate(change[:-1]))
    return [place for place in range(1, len(order)) if counts[place] == 1]
