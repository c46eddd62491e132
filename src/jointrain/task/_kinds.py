"""The kinds of task by name: a new kind is a file and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from jointrain.task._binary import Binary
from jointrain.task._censored import Censored
from jointrain.task._count import Count
from jointrain.task._custom import Custom
from jointrain.task._dense import DENSE_KINDS
from jointrain.task._kind import TableTaskKind, TaskKind
from jointrain.task._mean_variance import MeanVariance
from jointrain.task._multiclass import Multiclass
from jointrain.task._multilabel import Multilabel
from jointrain.task._negative_binomial import NegativeBinomial
from jointrain.task._ordinal import Ordinal
from jointrain.task._proportions import Proportions
from jointrain.task._quantiles import Quantiles
from jointrain.task._regression import Regression
from jointrain.task._sequence import SequenceOfClasses
from jointrain.task._survival import Survival

_ALL: tuple[type[TaskKind], ...] = (
    Regression,
    MeanVariance,
    Count,
    NegativeBinomial,
    Quantiles,
    Censored,
    Survival,
    Binary,
    Multiclass,
    Ordinal,
    Multilabel,
    Proportions,
    SequenceOfClasses,
    *DENSE_KINDS.values(),
    Custom,
)

KINDS: Mapping[str, type[TaskKind]] = MappingProxyType({kind.name: kind for kind in _ALL})

TABLE_KINDS: Mapping[str, type[TableTaskKind]] = MappingProxyType(
    {name: kind for name, kind in KINDS.items() if issubclass(kind, TableTaskKind)}
)
"""Those that a column of a table can be a target of."""
