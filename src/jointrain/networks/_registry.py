"""Networks by name, each with an MLP trunk for tables: what a recipe and the command line name."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any, Literal, get_type_hints

from torch import nn

from jointrain.errors import InvalidInputError, closest
from jointrain.networks._aitm import AITM
from jointrain.networks._cgc import CGC
from jointrain.networks._cross_stitch import CrossStitch
from jointrain.networks._dselect_k import DSelectK
from jointrain.networks._hard_sharing import HardSharing
from jointrain.networks._learning_to_branch import LearningToBranch
from jointrain.networks._low_rank_adapters import LowRankAdapters
from jointrain.networks._mlp import MLP
from jointrain.networks._mmoe import MMoE
from jointrain.networks._mtan import MTAN
from jointrain.networks._network import Network
from jointrain.networks._numeric_embeddings import NumericEmbeddings
from jointrain.networks._pareto_set import ParetoSet
from jointrain.networks._ple import PLE, Level
from jointrain.networks._sluice import Sluice
from jointrain.networks._soft_sharing import SoftSharing
from jointrain.networks._tabm import TabM
from jointrain.task import Task

Embeddings = Literal["linear", "periodic"]

_MOST = {
    "experts": 1024, "shared_experts": 1024, "task_experts": 1024, "selected": 1024,
    "members": 1024, "nodes": 1024, "subspaces": 1024, "rank": 65_536,
    "anneal_steps": 10**9, "warm_up": 10**9,
}  # fmt: skip
"""The largest value of settings that are counts."""


@dataclass(frozen=True)
class TableNetwork:
    """An architecture as the command line offers it.

    Args:
        network: The class.
        summary: One line on what it is.
        build: Makes it from the number of features, the tasks and settings.
    """

    network: type[Network]
    summary: str
    build: Callable[..., Network]

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that `build` takes, with their defaults."""
        parameters = inspect.signature(self.build).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def build_table_network(
    name: str, in_features: int, tasks: Sequence[Task], **settings: Any
) -> Network:
    """Return a network with an MLP trunk, freshly initialised from torch's random state.

    Args:
        name: One of `NETWORKS`.
        in_features: Number of features of the table, d.
        tasks: The tasks.
        **settings: Plain values such as ``width``, ``depth``, ``dropout``, ``experts``; see
            ``NETWORKS[name].settings`` for those of a network and their defaults.

    Raises:
        InvalidInputError: The name or a setting is unknown, there is no task, or a value can't be
            used.

    Examples:
        >>> tasks = [Task.regression("price"), Task.multiclass("kind", 3)]
        >>> network = build_table_network("mmoe", 8, tasks, width=16, experts=2)
        >>> network.task_names
        ('price', 'kind')
    """
    check_settings(name, settings)
    if not tasks:
        raise InvalidInputError("`tasks` must hold at least one task")
    return NETWORKS[name].build(in_features, tasks, **settings)


def check_settings(name: str, settings: Mapping[str, Any]) -> None:
    """Refuse a network that is not known, and settings that it does not have.

    Raises:
        InvalidInputError: The name or a setting is unknown, or a value is of another type or beyond
            what a count may be.
    """
    from pydantic import ValidationError

    if name not in NETWORKS:
        raise InvalidInputError(
            f"`network` must be one of {', '.join(NETWORKS)}, got {name!r}{closest(name, NETWORKS)}"
        )
    known = NETWORKS[name].settings
    readers = _readers(name)
    for setting, value in settings.items():
        if setting not in known:
            raise InvalidInputError(
                f"network {name!r} has no setting {setting!r}{closest(setting, known)}; "
                f"it has {', '.join(known)}"
            )
        try:
            readers[setting].validate_python(value, strict=True)
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise InvalidInputError(
                f"`{setting}` of network {name!r}: {reason[0].lower()}{reason[1:]}, got {value!r}"
            ) from None
        if setting in _MOST and value is not None and value > _MOST[setting]:
            raise InvalidInputError(
                f"`{setting}` of network {name!r} must be at most {_MOST[setting]:,}, got {value}"
            )


@functools.cache
def _readers(name: str) -> Mapping[str, Any]:
    """Return what checks the type of each setting; made once, as that takes milliseconds."""
    from pydantic import TypeAdapter

    types = get_type_hints(NETWORKS[name].build)
    return {setting: TypeAdapter(types[setting]) for setting in NETWORKS[name].settings}


def _heads(tasks: Sequence[Task], width: int) -> dict[str, nn.Module]:
    return {task.name: nn.Linear(width, task.output_size) for task in tasks}


@dataclass(frozen=True, kw_only=True)
class MLPSettings:
    """The layers of an MLP, which every network of a table is made of.

    Args:
        width: Units of a layer; default 128.
        depth: Layers; default 2.
        dropout: Probability of zeroing a unit while training; default 0.1.
        input_dropout: The same of an input; default 0.
        embeddings: Of each input, see `NumericEmbeddings`; None (default) for none.
    """

    width: int = 128
    depth: int = 2
    dropout: float = 0.1
    input_dropout: float = 0.0
    embeddings: Embeddings | None = None

    def trunk(self, features: int) -> nn.Sequential:
        """Return all layers, from a number of inputs."""
        layers: dict[str, Any] = {
            "width": self.width, "depth": self.depth, "dropout": self.dropout,
            "input_dropout": self.input_dropout,
        }  # fmt: skip
        if self.embeddings is None:
            return MLP(features, **layers)
        vectors = NumericEmbeddings(features, kind=self.embeddings)
        return nn.Sequential(vectors, MLP(vectors.out_features, **layers))

    def trunks(self, features: int, count: int) -> list[nn.Module]:
        """Return several trunks."""
        return [self.trunk(features) for _ in range(count)]

    def stages(self, features: int) -> list[nn.Module]:
        """Return the layers one by one."""
        if self.depth < 1:
            raise InvalidInputError(f"`depth` must be at least 1, got {self.depth}")
        first, later = self.levels()
        return [
            first.trunk(features) if level == 0 else later.trunk(self.width)
            for level in range(self.depth)
        ]

    def levels(self) -> tuple[MLPSettings, MLPSettings]:
        """Return the settings of the first layer, and of one that takes what a layer gave."""
        first = replace(self, depth=1)
        return first, replace(first, input_dropout=0.0, embeddings=None)


def _of_mlp(build: Callable[..., Network]) -> Callable[..., Network]:
    """Let what builds a network of `MLPSettings` take their fields by keyword, before its own."""
    signature = inspect.signature(build)
    known = [field.name for field in fields(MLPSettings)]
    layers = inspect.signature(MLPSettings).parameters.values()
    inputs, tasks, _, *own = signature.parameters.values()

    @functools.wraps(build)
    def of_settings(features: int, tasks: Sequence[Task], **settings: Any) -> Network:
        mlp = MLPSettings(**{name: settings.pop(name) for name in known if name in settings})
        return build(features, tasks, mlp, **settings)

    of_settings.__annotations__ = {**MLPSettings.__annotations__, **build.__annotations__}
    # what the command line, own networks and `check_settings` look at
    of_settings.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[inputs, tasks, *layers, *own]
    )
    return of_settings


@_of_mlp
def _hard(
    features: int,
    tasks: Sequence[Task],
    mlp: MLPSettings,
    *,
    shared_depth: int | None = None,
) -> HardSharing:
    """The first `shared_depth` blocks are shared, the others each task's own."""
    trunk = mlp.trunk(features)
    heads = _heads(tasks, mlp.width)
    depth = mlp.depth
    shared = depth if shared_depth is None else shared_depth
    if not 0 <= shared <= depth:
        raise InvalidInputError(
            f"`shared_depth` must lie between 0 and the depth, {depth}, got {shared_depth}"
        )
    if shared == depth or len(tasks) == 1:
        return HardSharing(trunk, heads)
    blocks = trunk if isinstance(trunk, MLP) else trunk[1]
    assert isinstance(blocks, MLP)
    before = [] if blocks is trunk else [trunk[0]]
    layers = list(blocks)
    if mlp.input_dropout:
        before.append(layers.pop(0))
    first = shared * len(layers) // depth
    # an empty nn.Sequential passes its inputs on
    lower, upper = layers[:first], layers[first:]
    stages = [[*before, *lower], upper] if shared else [[], [*before, *upper]]
    return HardSharing([nn.Sequential(*stage) for stage in stages], heads, reinitialize=True)


@_of_mlp
def _soft(
    features: int,
    tasks: Sequence[Task],
    mlp: MLPSettings,
    *,
    distance: Literal["l2", "trace"] = "l2",
    strength: float = 1e-3,
) -> SoftSharing:
    return SoftSharing(
        mlp.trunk(features),
        _heads(tasks, mlp.width),
        distance=distance,
        strength=strength,
    )


@_of_mlp
def _cross_stitch(
    features: int,
    tasks: Sequence[Task],
    mlp: MLPSettings,
    *,
    self_weight: float = 0.9,
) -> CrossStitch:
    stages = mlp.stages(features)
    return CrossStitch(stages, _heads(tasks, mlp.width), self_weight=self_weight)


@_of_mlp
def _sluice(
    features: int,
    tasks: Sequence[Task],
    mlp: MLPSettings,
    *,
    subspaces: int = 2,
    self_weight: float = 0.9,
    strength: float = 0.01,
) -> Sluice:
    return Sluice(
        mlp.stages(features),
        _heads(tasks, mlp.width),
        subspaces=subspaces,
        self_weight=self_weight,
        strength=strength,
    )


@_of_mlp
def _mmoe(
    features: int,
    tasks: Sequence[Task],
    mlp: MLPSettings,
    *,
    experts: int = 4,
) -> MMoE:
    chosen = mlp.trunks(features, experts)
    return MMoE(chosen, _heads(tasks, mlp.width), gate_features=features)


def _level(
    features: int, tasks: Sequence[Task], mlp: MLPSettings, counts: tuple[int, int]
) -> Level:
    shared, own = counts
    return mlp.trunks(features, shared), {task.name: mlp.trunks(features, own) for task in tasks}


@_of_mlp
def _cgc(
    features: int,
    tasks: Sequence[Task],
    mlp: MLPSettings,
    *,
    shared_experts: int = 2,
    task_experts: int = 1,
) -> CGC:
    counts = shared_experts, task_experts
    shared, own = _level(features, tasks, mlp, counts)
    return CGC(shared, own, _heads(tasks, mlp.width), gate_features=features)


@_of_mlp
def _ple(
    features: int,
    tasks: Sequence[Task],
    mlp: MLPSettings,
    *,
    shared_experts: int = 2,
    task_experts: int = 1,
) -> PLE:
    """Levels of one layer, `depth` of them."""
    counts = shared_experts, task_experts
    first, later = mlp.levels()
    levels = [
        _level(features, tasks, first, counts)
        if number == 0
        else _level(mlp.width, tasks, later, counts)
        for number in range(mlp.depth)
    ]
    widths = [features, *[mlp.width] * (mlp.depth - 1)]
    return PLE(levels, _heads(tasks, mlp.width), gate_features=widths)


@_of_mlp
def _dselect_k(
    features: int,
    tasks: Sequence[Task],
    mlp: MLPSettings,
    *,
    experts: int = 4,
    selected: int = 2,
    per_row: bool = False,
    entropy: float = 1e-6,
) -> DSelectK:
    chosen = mlp.trunks(features, experts)
    return DSelectK(
        chosen,
        _heads(tasks, mlp.width),
        selected=selected,
        gate_features=features if per_row else None,
        entropy=entropy,
    )


@_of_mlp
def _mtan(
    features: int,
    tasks: Sequence[Task],
    mlp: MLPSettings,
) -> MTAN:
    stages = mlp.stages(features)
    example = next(stages[0].parameters()).new_zeros(1, features)
    return MTAN(stages, _heads(tasks, mlp.width), example=example)


@_of_mlp
def _aitm(
    features: int,
    tasks: Sequence[Task],
    mlp: MLPSettings,
) -> AITM:
    """One shared layer, and towers of the others; each task takes from what it is given.

    Where no task is given another one, each takes from the one before it.
    """
    first, later = mlp.levels()
    names = [task.name for task in tasks]
    given = {task.name: task.given for task in tasks if task.given in names and task.given}
    towers = {}
    for name in names:
        towers[name] = nn.Sequential(
            *(later.trunk(mlp.width) for _ in range(max(mlp.depth - 1, 1)))
        )
    return AITM(
        first.trunk(features),
        towers,
        _heads(tasks, mlp.width),
        width=mlp.width,
        before=given or None,
    )


@_of_mlp
def _branch(
    features: int,
    tasks: Sequence[Task],
    mlp: MLPSettings,
    *,
    nodes: int | None = None,
    anneal_steps: int = 1000,
    warm_up: int = 100,
) -> LearningToBranch:
    return LearningToBranch(
        mlp.stages(features),
        _heads(tasks, mlp.width),
        nodes=nodes,
        anneal_steps=anneal_steps,
        warm_up=warm_up,
    )


@_of_mlp
def _low_rank(
    features: int,
    tasks: Sequence[Task],
    mlp: MLPSettings,
    *,
    rank: int = 8,
    scale: float = 16.0,
) -> LowRankAdapters:
    trunk = mlp.trunk(features)
    return LowRankAdapters(trunk, _heads(tasks, mlp.width), rank=rank, scale=scale)


@_of_mlp
def _pareto_set(
    features: int,
    tasks: Sequence[Task],
    mlp: MLPSettings,
    *,
    rank: int = 4,
    scale: float = 4.0,
    concentration: float = 1.0,
) -> ParetoSet:
    return ParetoSet(
        mlp.trunk(features),
        _heads(tasks, mlp.width),
        rank=rank,
        scale=scale,
        concentration=concentration,
    )


@_of_mlp
def _tabm(
    features: int,
    tasks: Sequence[Task],
    mlp: MLPSettings,
    *,
    members: int = 32,
) -> TabM:
    return TabM(
        features,
        tasks,
        members=members,
        width=mlp.width,
        depth=mlp.depth,
        dropout=mlp.dropout,
        input_dropout=mlp.input_dropout,
        embeddings=mlp.embeddings,
    )


NETWORKS: Mapping[str, TableNetwork] = MappingProxyType(
    {
        "hard": TableNetwork(HardSharing, "one trunk for all tasks, a head for each", _hard),
        "soft": TableNetwork(SoftSharing, "a trunk for each task, drawn to the others", _soft),
        "cross-stitch": TableNetwork(
            CrossStitch, "a trunk for each task, mixed after every layer", _cross_stitch
        ),
        "sluice": TableNetwork(
            Sluice, "cross-stitch between halves of layers, and skipped layers", _sluice
        ),
        "mmoe": TableNetwork(MMoE, "shared experts, weighed by each task for each row", _mmoe),
        "cgc": TableNetwork(CGC, "shared experts, and experts of each task's own", _cgc),
        "ple": TableNetwork(PLE, "levels of shared and own experts", _ple),
        "dselect-k": TableNetwork(
            DSelectK, "shared experts, of which each task chooses few", _dselect_k
        ),
        "mtan": TableNetwork(MTAN, "one trunk, to whose layers each task attends", _mtan),
        "aitm": TableNetwork(AITM, "towers, each of which takes from the task before", _aitm),
        "branch": TableNetwork(
            LearningToBranch, "a tree of layers, whose branches are learned", _branch
        ),
        "low-rank": TableNetwork(
            LowRankAdapters, "one trunk, which each task changes by low rank", _low_rank
        ),
        "pareto-set": TableNetwork(
            ParetoSet, "all trade-offs in one trunk: choose a preference to predict", _pareto_set
        ),
        "tabm": TableNetwork(TabM, "an ensemble of MLPs that share most weights", _tabm),
    }
)
"""The networks that a table can be trained with, by the name that the command line knows."""
