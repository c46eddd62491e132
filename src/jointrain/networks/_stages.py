"""Cutting a trunk into stages, and copying it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from textwrap import shorten
from typing import Any

from torch import fx, nn

from jointrain.errors import InvalidInputError, closest
from jointrain.networks._plain_modules import why_not_plain_itself
from jointrain.networks._wrappers import KerasTrunk

Trunk = nn.Module | Sequence[nn.Module]
"""Layers below the heads: one module, or its stages in order."""


def cut(trunk: Trunk, split_at: str | Sequence[str] | None = None) -> list[nn.Module]:
    """Return consecutive stages of a trunk; together they compute what the trunk computes.

    A list of modules is taken as the stages it holds. An ``nn.Sequential`` is sliced; a Keras model
    is cut at its layers; any other module is traced by `torch.fx` down to the named layers (ResNets
    of torchvision and timm can be), and must pass a single tensor from stage to stage.

    Args:
        trunk: The layers.
        split_at: The name of the layer, or layers, with which a new stage begins, as in
            ``trunk.named_modules()``; None (default) leaves a module in one piece.

    Raises:
        InvalidInputError: There is no stage, a layer is unknown, or the trunk can't be cut there.

    Examples:
        >>> trunk = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> [len(stage) for stage in cut(trunk, split_at="2")]
        [2, 1]
    """
    if not isinstance(trunk, nn.Module) or isinstance(trunk, nn.ModuleList):
        stages = list(trunk)
        if not stages or not all(isinstance(stage, nn.Module) for stage in stages):
            raise InvalidInputError("`trunk` must be a torch module or a list of such (its stages)")
        if split_at:
            raise InvalidInputError("`split_at` names layers of one module; a list is cut already")
        return stages
    names = [split_at] if isinstance(split_at, str) else list(split_at or ())
    if not names:
        return [trunk]
    if isinstance(trunk, KerasTrunk) or _is_keras(trunk):
        model = trunk.model if isinstance(trunk, KerasTrunk) else trunk
        return _cut_keras(model, names)
    check_layers(trunk, names)
    # a subclass may do more in its forward than call its layers in turn, and so may a hook
    if (
        isinstance(trunk, nn.Sequential)
        and type(trunk).forward is nn.Sequential.forward
        and not any("." in name for name in names)
        and why_not_plain_itself(trunk) is None
    ):
        return _cut_sequential(trunk, names)
    return _cut_traced(trunk, names)


def check_layers(module: nn.Module, names: Sequence[str], argument: str = "split_at") -> None:
    """Refuse names of layers that a module does not have.

    Raises:
        InvalidInputError: A layer is unknown; the message names the closest ones.
    """
    known = [name for name, _ in module.named_modules(remove_duplicate=False) if name]
    for name in names:
        if name not in known:
            top = ", ".join(child for child, _ in module.named_children())
            raise InvalidInputError(
                f"`{argument}` names {name!r}, which is no layer of "
                f"{type(module).__name__}{closest(name, known)}; its first layers are {top}"
            )


def refuse_tied(copied: Sequence[nn.Module], others: Iterable[nn.Module] = ()) -> None:
    """Refuse weights that what is to be copied has in common with another piece.

    The first copy would stay tied to that piece, and the others would not.

    Args:
        copied: The pieces that each task gets a copy of.
        others: Further pieces, such as heads.

    Raises:
        InvalidInputError: There are such weights.
    """
    places: dict[int, int] = {}
    for place, piece in enumerate((*copied, *others)):
        for name, parameter in piece.named_parameters():
            first = places.setdefault(id(parameter), place)
            if first != place and first < len(copied):
                raise InvalidInputError(
                    f"{name!r} of {type(piece).__name__} is also a weight of another piece "
                    f"({type(copied[first]).__name__}), and a copy for each task would untie them; "
                    "part the tasks elsewhere, or give each piece weights of its own"
                )


def copies(module: nn.Module, count: int, *, reinitialize: bool) -> list[nn.Module]:
    """Return `count` modules: the given one and copies of it.

    Args:
        module: What to copy; it is the first of the result.
        count: How many.
        reinitialize: Draw new initial weights for the copies, by ``reset_parameters`` of the
            layers that have it (those of torch.nn; others keep the module's weights); else all
            start from the module's weights, as pretrained ones must.
    """
    result = [module]
    for _ in range(count - 1):
        twin = copy.deepcopy(module)
        if reinitialize:
            for layer in twin.modules():
                reset: Callable[[], object] | None = getattr(layer, "reset_parameters", None)
                if callable(reset):
                    reset()
        result.append(twin)
    return result


def _cut_sequential(trunk: nn.Sequential, names: Sequence[str]) -> list[nn.Module]:
    # named_children would leave out a layer that stands in two places
    order = list(trunk._modules)
    starts = sorted({order.index(name) for name in names})
    if starts[0] == 0:
        raise _nothing_before(order[0])
    bounds = [0, *starts, len(order)]
    layers = list(trunk)
    return [nn.Sequential(*layers[start:end]) for start, end in pairwise(bounds)]


def _nothing_before(name: str) -> InvalidInputError:
    return InvalidInputError(
        f"`split_at` names {name!r}, the trunk's first layer: nothing would come before; "
        f"name a later layer"
    )


class _OneInput(nn.Module):
    """Calls a trunk with one input, so that tracing sees its other arguments at their defaults."""

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, inputs: Any) -> Any:
        """Return what the trunk gives."""
        return self.trunk(inputs)


def _cut_traced(trunk: nn.Module, names: Sequence[str]) -> list[nn.Module]:
    kind = type(trunk).__name__
    root = _OneInput(trunk)
    graph = _trace(root, names)
    stages: list[list[fx.Node]] = [[]]
    begun: set[str] = set()
    for node in graph.nodes:
        if node.op in ("placeholder", "get_attr"):
            continue
        target = str(node.target).removeprefix("trunk.")
        for name in names:
            if node.op == "call_module" and name not in begun and _within(target, name):
                begun.add(name)
                stages.append([])
                break
        stages[-1].append(node)
    for name in names:
        if name not in begun:
            raise InvalidInputError(
                f"{kind} can't be cut at {name!r}: its forward does not call that layer by itself; "
                f"name the layer that holds it"
            )
    if not stages[0]:
        raise _nothing_before(str(stages[1][0].target).removeprefix("trunk."))
    entries = [_entry(nodes, kind, number) for number, nodes in enumerate(stages)]
    for number, (before, entry) in enumerate(zip(stages, entries[1:], strict=False), 1):
        if entry not in before:
            raise _several(kind, number, [entry.name])
    leaving: list[fx.Node | None] = [*entries[1:], None]
    return [
        _piece(root, nodes, entry, leave)
        for nodes, entry, leave in zip(stages, entries, leaving, strict=True)
    ]


def _within(layer: str, name: str) -> bool:
    return layer == name or layer.startswith(name + ".")


def _entry(nodes: Sequence[fx.Node], kind: str, stage: int) -> fx.Node:
    """Return the one value that a stage takes from those below."""
    sources = {
        source: None
        for node in nodes
        for source in node.all_input_nodes
        if source not in nodes and source.op != "get_attr"
    }
    if len(sources) != 1:
        raise _several(kind, stage, [source.name for source in sources])
    return next(iter(sources))


def _several(kind: str, stage: int, names: Sequence[str]) -> InvalidInputError:
    return InvalidInputError(
        f"{kind} can't be cut before stage {stage}: more than one tensor passes there (also "
        f"{', '.join(names)}); cut where one passes, such as between blocks"
    )


def _piece(
    root: _OneInput, nodes: Sequence[fx.Node], entry: fx.Node, leave: fx.Node | None
) -> nn.Module:
    """Return a module of the given nodes, with the parameters that they use."""
    graph = fx.Graph()
    made = {entry: graph.placeholder("inputs")}
    for node in nodes:
        for source in node.all_input_nodes:
            if source.op == "get_attr" and source not in made:
                made[source] = graph.node_copy(source)
        made[node] = graph.node_copy(node, lambda old: made[old])
    if leave is not None:
        graph.output(made[leave])
    return fx.GraphModule(root, graph)


def _trace(root: _OneInput, names: Sequence[str]) -> fx.Graph:
    """Return the graph of a trunk's forward, with the named layers as calls of modules."""

    class _Tracer(fx.Tracer):
        def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
            del m
            return module_qualified_name != "trunk" and not any(
                f"trunk.{name}".startswith(module_qualified_name + ".") for name in names
            )

    kind = type(root.trunk).__name__
    modes = [(module, module.training) for module in root.trunk.modules()]
    try:
        graphs = [_Tracer().trace(root.train(mode)) for mode in (True, False)]
    except Exception as error:  # whatever the user's forward raises when traced
        reason = shorten(str(error) or type(error).__name__, 100)
        raise InvalidInputError(
            f"{kind} can't be cut by tracing it ({reason}); give its stages as a list of modules, "
            f"or name the layers to share with LayerSharing"
        ) from error
    finally:
        for module, mode in modes:
            module.training = mode
    # a graph is traced once and would stay in the mode it was traced in
    if str(graphs[0]) != str(graphs[1]):
        raise InvalidInputError(
            f"{kind} can't be cut by tracing it (its forward asks whether it is training, such as "
            f"functional.dropout with training=self.training); use layers such as nn.Dropout for "
            f"that, or give its stages as a list of modules"
        )
    return graphs[0]


def _is_keras(module: nn.Module) -> bool:
    return any(kind.__module__.startswith("keras.") for kind in type(module).__mro__)


def _cut_keras(model: Any, names: Sequence[str]) -> list[nn.Module]:
    import keras

    known = [layer.name for layer in model.layers]
    for name in names:
        if name not in known:
            raise InvalidInputError(
                f"`split_at` names {name!r}, which is no layer of the Keras model"
                f"{closest(name, known)}; its layers are {', '.join(known)}"
            )
    order = sorted(set(names), key=known.index)
    for name in order:
        if isinstance(model.get_layer(name).input, (list, tuple)):
            raise InvalidInputError(
                f"the Keras model can't be cut at {name!r}, which takes several tensors; cut where "
                f"one passes, such as between blocks"
            )
    tensors = [model.inputs[0], *(model.get_layer(name).input for name in order), model.outputs[0]]
    if tensors[1] is tensors[0]:
        raise _nothing_before(order[0])
    return [KerasTrunk(keras.Model(a, b)) for a, b in pairwise(tensors)]
