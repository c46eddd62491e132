"""What the autograd graph says about a step: who reaches which parameter."""

from __future__ import annotations

import functools
import math
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.autograd.graph import GradientEdge, get_gradient_edge

from jointrain.errors import InvalidInputError

Node = Any
"""A node of the autograd graph; its Python object stays the same as long as it is referred to."""


def kind_of(node: Node) -> str:
    """Return the kind of operation, such as ``"AddmmBackward0"``.

    That is what `node.name()` says, which makes the name anew from C++ each time.
    """
    return type(node).__name__


class Leaf(NamedTuple):
    """A leaf tensor, its node in the graph, and the tasks that reach it as bits of an integer.

    `sparse` says that it is a table whose gradient has only the rows that were looked up.
    """

    tensor: Tensor
    node: Node
    mask: int
    sparse: bool = False


def bytes_of(leaf: Leaf) -> int:
    """Return the bytes that a dense gradient takes, 0 for a table of which few rows have one."""
    return 0 if leaf.sparse else leaf.tensor.numel() * leaf.tensor.element_size()


class Walk(NamedTuple):
    """Shared parameters in the order in which a loss reaches them, whatever other losses there are.

    `custom` says that it passes operations defined in Python, such as a compiled part, within which
    the order is another one than that of the plain operations.
    """

    custom: bool
    tensors: list[Tensor]


@dataclass
class Graph:
    """The union of the losses' graphs.

    Attributes:
        roots: The node and output number of each loss, [t].
        children: Each node's ``next_functions``, in topological order from the losses.
        masks: For each node the tasks whose losses reach it, as bits.
        leaves: All leaf tensors that require a gradient.
        shares_nodes: Whether two losses share more than leaves, so that a pass may not free it.
        in_vector: Whether losses are entries of one vector, which a pass may not free either.
        custom: Whether there are operations defined in Python (compiled parts are such), which
            may not take several tasks' gradients at once.
    """

    roots: list[tuple[Node, int]]
    children: dict[Node, tuple[tuple[Node, int], ...]] = field(default_factory=dict)
    masks: dict[Node, int] = field(default_factory=dict)
    leaves: list[Leaf] = field(default_factory=list)
    shares_nodes: bool = False
    in_vector: bool = False
    custom: bool = False
    _hooks: list[Any] | None = None

    def parts_inside(self) -> bool:
        """Return whether tasks take different outputs of one operation defined in Python.

        Which of the parameters behind it a task reaches is then not known.
        """
        return any(len(set(outputs.values())) > 1 for outputs in self._taken().values())

    def leaves_outputs(self) -> bool:
        """Return whether the losses leave out outputs of an operation defined in Python.

        Which of the parameters behind it the others reach is then not known.
        """
        taken = self._taken()
        return any(len(outputs) < len(node._input_metadata) for node, outputs in taken.items())

    def _taken(self) -> dict[Node, dict[int, int]]:
        """Return for operations defined in Python the tasks that take each output, as bits."""
        taken: dict[Node, dict[int, int]] = {}
        if not self.custom:
            return taken
        edges = [(root, 1 << k) for k, root in enumerate(self.roots)]
        edges += [
            (edge, self.masks[node]) for node, below in self.children.items() for edge in below
        ]
        for (node, number), mask in edges:
            if isinstance(node, BackwardCFunction):
                outputs = taken.setdefault(node, {})
                outputs[number] = outputs.get(number, 0) | mask
        return taken

    def walk_of(self, k: int, wanted: Collection[int]) -> Walk:
        """Return the leaf tensors with these ids in the order in which loss k reaches them."""
        root = self.roots[k][0]
        stack, seen = [root], {root}
        tensors: list[Tensor] = []
        custom = False
        while stack:
            node = stack.pop()
            custom |= isinstance(node, BackwardCFunction)
            if id(getattr(node, "variable", None)) in wanted:
                tensors.append(node.variable)
            for child, _ in reversed(self.children.get(node, ())):
                if child is not None and child not in seen:
                    seen.add(child)
                    stack.append(child)
        return Walk(custom, tensors)

    def has_hooks(self) -> bool:
        """Return whether what operations saved went through hooks, as checkpoints make it."""
        return bool(self._unpack_hooks())

    def _unpack_hooks(self) -> list[Any]:
        """Return the functions that give back what operations saved through hooks, found once."""
        if self._hooks is None:
            found = {id(hook): hook for node in self.children for hook in _unpack_hooks(node)}
            self._hooks = list(found.values())
        return self._hooks

    def forgetting(self) -> Callable[[], None]:
        """Return what lets go of what checkpoints computed anew, to be called after each pass.

        A pass that enters a checkpoint computes all of it anew. What it has no use for (if only
        the gradient of the block's last layer is wanted, or the block holds other tasks' parts as
        well) would stay, once for each pass, as long as the graph does. The checkpoints are looked
        for here, before a pass: an operation that it frees can't be asked, if defined in Python.
        """
        hooks = filter(_is_of_checkpoint, self._unpack_hooks())
        frames = [_closure(hook).get("frame") for hook in hooks]

        def forget() -> None:
            for frame in frames:
                if (recomputed := getattr(frame, "recomputed", None)) is not None:
                    recomputed.clear()

        return forget

    def computed_in(self, kinds: Collection[torch.dtype]) -> set[torch.dtype]:
        """Return which of these types the shared operations cast to, as autocast makes them."""
        found = {
            node._input_metadata[0].dtype
            for node, mask in self.masks.items()
            if mask & (mask - 1) and kind_of(node) == "ToCopyBackward0"
        }
        return {kind for kind in kinds if kind in found}

    def shared_numbers(self) -> float:
        """Return how many numbers the operations put out that two or more losses reach."""
        return sum(
            numbers_of(output)
            for node, mask in self.masks.items()
            if mask & (mask - 1) and self.children[node]
            for output in node._input_metadata
        )

    def around(self, edges: Sequence[GradientEdge]) -> set[Node]:
        """Return the nodes that the losses reach without passing through one of the edges."""
        blocked = {(edge.node, edge.output_nr) for edge in edges}
        stack = [node for node, number in self.roots if (node, number) not in blocked]
        found = set(stack)
        while stack:
            for child in self.children[stack.pop()]:
                if child[0] is not None and child not in blocked and child[0] not in found:
                    found.add(child[0])
                    stack.append(child[0])
        return found

    def below(self, edges: Sequence[GradientEdge]) -> tuple[set[Node], bool]:
        """Return the nodes below the edges, and whether one of the edges leads to another."""
        ends = {(edge.node, edge.output_nr) for edge in edges}
        found: set[Node] = set()
        nested = False
        stack = [edge.node for edge in edges]
        while stack:
            for child in self.children.get(stack.pop(), ()):
                nested = nested or child in ends
                if child[0] is not None and child[0] not in found:
                    found.add(child[0])
                    stack.append(child[0])
        return found, nested


def walk(losses: Sequence[Tensor]) -> Graph:
    """Walk the graph of the losses [t] once: O(nodes + edges), no tensor work.

    Raises:
        InvalidInputError: The graph hides parameters behind reentrant checkpointing.
    """
    graph = Graph(_roots(losses))
    graph.in_vector = any(
        loss.grad_fn not in (root, None)
        for loss, (root, _) in zip(losses, graph.roots, strict=True)
    )
    order = _topological(graph)
    masks = dict.fromkeys(order, 0)
    for k, (node, _) in enumerate(graph.roots):
        masks[node] |= 1 << k
    children, leaves = graph.children, graph.leaves
    tables: set[Node] = set()
    for node in order:
        mask = masks[node]
        below = children[node]
        if below:
            if kind_of(node) in _LOOK_UPS and node._saved_sparse:
                tables.add(below[0][0])
            if mask & (mask - 1):
                graph.shares_nodes = True
            for child, _ in below:
                if child is not None:
                    masks[child] |= mask
        else:
            tensor = getattr(node, "variable", None)
            # one that was frozen after the forward pass gets nothing, as in torch's own pass
            if tensor is not None and tensor.requires_grad:
                leaves.append(Leaf(tensor, node, mask, node in tables))
    graph.masks = masks
    return graph


_LOOK_UPS = frozenset({"EmbeddingBackward0", "EmbeddingBagBackward0"})


def reached(losses: Sequence[Tensor]) -> tuple[list[Leaf], bool]:
    """Return the leaf tensors that some loss reaches, those close to the losses first.

    A third of the work of :func:`walk`, for steps that ask for no more: it isn't known which of
    the losses reach a leaf, and each is said to be reached by all.

    Returns:
        The leaves, and whether there are operations that aren't torch's own.

    Raises:
        InvalidInputError: The graph hides parameters behind reentrant checkpointing.
    """
    ahead: deque[Node] = deque(node for node, _ in _roots(losses))
    everyone = (1 << len(losses)) - 1
    custom = False
    found: dict[Node, Tensor] = {}
    tables: set[Node] = set()
    seen = set(ahead)
    while ahead:
        node = ahead.popleft()
        below = node.next_functions
        if not below:
            tensor = getattr(node, "variable", None)
            if tensor is not None and tensor.requires_grad:
                found[node] = tensor
            continue
        if kind_of(node) in _LOOK_UPS and node._saved_sparse:
            tables.add(below[0][0])
        elif isinstance(node, BackwardCFunction):
            custom = True
            _check_custom(node)
        for child, number in below:
            if _is_sink(child):
                child, _ = _past_sink(child, number)
            if child is not None and child not in seen:
                seen.add(child)
                ahead.append(child)
    leaves = [Leaf(tensor, node, everyone, node in tables) for node, tensor in found.items()]
    return leaves, custom


def saved(node: Node, name: str) -> Tensor | None:
    """Return a dense tensor that an operation saved; None if it is another, or hooks keep it.

    Outside of a backward pass a checkpoint would compute its whole block anew for each one that
    is asked for, and keep it all; others may fetch it from another device.
    """
    if getattr(getattr(node, f"_raw_saved_{name}"), "unpack_hook", None) is not None:
        return None
    found: Tensor = getattr(node, f"_saved_{name}")
    return found if found.layout is torch.strided and not found.is_nested else None


def numbers_of(output: Any) -> float:
    """Return how many numbers an operation puts out, by its metadata; inf if it doesn't say."""
    return math.inf if output.is_nested_tensor else math.prod(output.shape)


def _unpack_hooks(node: Node) -> list[Any]:
    """Return the functions that give back what an operation saved through hooks."""
    found = []
    kind: type = type(node)
    for name in _raw_names(kind):
        raw = getattr(node, name)
        for one in raw if isinstance(raw, (list, tuple)) else (raw,):
            hook = getattr(one, "unpack_hook", None)
            if hook is not None:
                found.append(hook)
    return found


@functools.cache
def _raw_names(kind: type) -> tuple[str, ...]:
    return tuple(name for name in dir(kind) if name.startswith("_raw_saved_"))


def checkpoints_of(node: Node) -> set[int]:
    """Return marks of the checkpoints that compute what an operation saved anew."""
    return {id(hook) for hook in _unpack_hooks(node) if _is_of_checkpoint(hook)}


def _is_of_checkpoint(hook: Any) -> bool:
    """Return whether it computes anew: a checkpoint has one such for all that it saves."""
    return getattr(hook, "__module__", "") == "torch.utils.checkpoint"


def _closure(function: Any) -> dict[str, Any]:
    """Return the variables that a function took from where it was defined."""
    cells = function.__closure__ or ()
    pairs = zip(function.__code__.co_freevars, cells, strict=True)
    return {name: cell.cell_contents for name, cell in pairs}


def _roots(losses: Sequence[Tensor]) -> list[tuple[Node, int]]:
    """Return where the losses' graphs begin, [t]."""
    known: dict[Node, list[bool]] = {}
    return [_root(loss, known) for loss in losses]


def _root(loss: Tensor, known: dict[Node, list[bool]]) -> tuple[Node, int]:
    """Return where the loss's graph begins: where it did before losses were stacked to a vector.

    Args:
        loss: A scalar.
        known: What :func:`_single` says of vectors, filled on the way.
    """
    node: Node = loss.grad_fn
    if node is not None:
        place = _place_in_vector(node, loss.output_nr, known)
        if place is not None:
            below: tuple[Node, int] = node.next_functions[0][0].next_functions[place]
            if below[0] is not None:
                return _past_sink(*below)
        return _past_sink(node, loss.output_nr)
    edge = get_gradient_edge(loss)
    return edge.node, edge.output_nr


def _place_in_vector(node: Node, number: int, known: dict[Node, list[bool]]) -> int | None:
    """Return which of the stacked scalars an entry of their vector is, None if it is none."""
    vector = node.next_functions[0][0] if node.next_functions else None
    if vector is None or kind_of(vector) not in ("StackBackward0", "CatBackward0"):
        return None
    length = len(vector.next_functions)
    if kind_of(node) == "UnbindBackward0":
        place = number
    elif kind_of(node) == "SelectBackward0":
        place = node._saved_index if node._saved_index < length else node._saved_index - 2**64
    else:
        return None
    if list(vector._input_metadata[0].shape) != [length]:
        return None
    place %= length
    if kind_of(vector) == "StackBackward0":
        return place  # a vector is stacked of scalars
    if vector not in known:
        known[vector] = _single(vector)
    return place if known[vector][place] else None


def _single(vector: Node) -> list[bool]:
    """Return for each place of a vector that parts were joined to whether it is the part so placed.

    There are as many parts as places, but one part may have two numbers and another none. Of those
    without a graph it isn't known how many they have.
    """
    sizes = [
        None if node is None else list(node._input_metadata[number].shape)
        for node, number in vector.next_functions
    ]
    if any(size not in (None, [1]) for size in sizes):
        return [False] * len(sizes)
    unknown = [place for place, size in enumerate(sizes) if size is None]
    if len(unknown) < 2:
        return [True] * len(sizes)
    # those before the first of them, and after the last, can't be moved by them
    return [not unknown[0] <= place <= unknown[-1] for place in range(len(sizes))]


def _topological(graph: Graph, sinks: bool = False) -> list[Node]:
    """Return the nodes so that each comes before those it leads to; fill `children`.

    Args:
        graph: The graph, of which the roots are known.
        sinks: Whether it holds nodes of DistributedDataParallel; found out on the way, since
            looking for them at each edge takes a third of the time.
    """
    children = graph.children
    order: list[Node] = []
    finished: set[Node] = set()
    for root, _ in graph.roots:
        if root in children:
            continue
        stack = [root]
        while stack:
            node = stack[-1]
            below = children.get(node)
            if below is None:
                below = children[node] = _below(node) if sinks else node.next_functions
                if isinstance(node, BackwardCFunction):
                    graph.custom = True
                    if not sinks and _is_sink(node):
                        children.clear()
                        return _topological(graph, sinks=True)
                    _check_custom(node)
                for child, _ in below:
                    if child is not None and child not in children:
                        stack.append(child)
            else:
                stack.pop()
                if node not in finished:
                    finished.add(node)
                    order.append(node)
    order.reverse()
    return order


def _below(node: Node) -> tuple[tuple[Node, int], ...]:
    """Return the edges from a node, past nodes that DistributedDataParallel ties outputs with."""
    below: tuple[tuple[Node, int], ...] = node.next_functions
    if any(_is_sink(child) for child, _ in below):
        return tuple(_past_sink(child, number) for child, number in below)
    return below


def _is_sink(node: Node) -> bool:
    return type(node).__name__ == "_DDPSinkBackward"


def _past_sink(node: Node, number: int) -> tuple[Node, int]:
    """Return where an edge leads past the node that DistributedDataParallel ties outputs with.

    It hands on each output as it is. Taken for an operation, it would let every task reach all
    that any output was computed from.
    """
    while _is_sink(node) and len(node.next_functions) == len(node._input_metadata):
        node, number = node.next_functions[number]
    return node, number


def _check_custom(node: Node) -> None:
    if type(node).__name__ == "CheckpointFunctionBackward":
        raise InvalidInputError(
            "The losses' graph has a reentrant checkpoint, which hides its parameters. "
            "Pass `use_reentrant=False` to torch.utils.checkpoint.checkpoint."
        )
