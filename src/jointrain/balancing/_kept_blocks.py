"""Which of a balancer's kept gradients are whose."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from torch.utils.weak import WeakIdKeyDictionary


class KeptWalk(NamedTuple):
    """A `Walk` of the engine without tensors: the numbers of the parameters in their place."""

    custom: bool
    places: list[int]


@dataclass
class BlockOrder:
    """Which of a balancer's kept gradients are whose.

    Attributes:
        places: The numbers of the parameters, by which gradients are kept.
        walks: For each task the numbers in the order in which its loss reaches the parameters.
            A saved balancer has these alone: the parameters of a loaded model are other tensors.
    """

    places: WeakIdKeyDictionary = field(default_factory=WeakIdKeyDictionary)
    walks: dict[str, KeptWalk] = field(default_factory=dict)
