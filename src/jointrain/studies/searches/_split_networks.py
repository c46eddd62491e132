"""Networks of one's own with fewer shared layers: the upper part of the trunk is each task's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from torch import nn

from jointrain.errors import InvalidInputError
from jointrain.experiments import Experiment, Recipe
from jointrain.networks import HardSharing, Network, cut, refuse_tied
from jointrain.task import Task
from jointrain.training import random_state_kept


@dataclass(frozen=True)
class SplitNetwork:
    """A factory of networks whose tasks part at a layer.

    Args:
        make: Makes `HardSharing` networks of one trunk, of their tasks.
        split_at: The child of the trunk with which the tasks part; None: nothing is shared.
    """

    make: Callable[[Sequence[Task]], Network]
    split_at: str | None

    def __call__(self, tasks: Sequence[Task]) -> HardSharing:
        """Return the network of some tasks; the upper layers of all start from the same weights."""
        trunk = _network_of(self.make, tasks).trunk
        heads = {task.name: _network_of(self.make, [task]).heads.layers[0] for task in tasks}
        stages: list[nn.Module] = [nn.Identity(), trunk]
        if self.split_at is not None:
            stages = cut(trunk, self.split_at)
        return HardSharing(stages, heads)


def split_networks(experiment: Experiment, recipe: Recipe) -> list[SplitNetwork | None]:
    """Return factories of networks that share fewer and fewer blocks, from all (None) to none.

    A block begins with each child of the trunk that has a weight matrix; what follows it without
    one, such as activations and norms, is part of it. Where the trunk can't be cut, it is not.

    Raises:
        InvalidInputError: The networks have no trunk that can be cut, or heads have weights in
            common with it or with each other.
    """
    make = recipe.network if callable(recipe.network) else experiment.network
    with random_state_kept():
        whole = _network_of(make, experiment.tasks)
    # each task's head is of a network of its own
    refuse_tied([whole.trunk, *whole.heads.layers])
    trunk = whole.trunk
    names = [
        name
        for name, child in trunk.named_children()
        if any(parameter.ndim > 1 for parameter in child.parameters())
    ]
    found: list[SplitNetwork | None] = [None]
    for name in reversed(names[1:]):
        with suppress(InvalidInputError):
            refuse_tied(cut(trunk, name))
            found.append(SplitNetwork(make, name))
    if len(found) == 1:
        raise InvalidInputError(
            f"the trunk of the network, {type(trunk).__name__}, has no two layers between which it "
            "can be cut; give HardSharing a trunk that is an nn.Sequential of two or more"
        )
    return [*found, SplitNetwork(make, None)]


def _network_of(make: Callable[[Sequence[Task]], Network], tasks: Sequence[Task]) -> HardSharing:
    made = make(tasks)
    if type(made) is not HardSharing or made.branches is not None:
        raise InvalidInputError(
            f"`network` makes a {type(made).__name__}; how many layers to share is asked of "
            "HardSharing(trunk, heads) with one trunk"
        )
    return made
