"""FittedNetwork: what a run leaves, one trained network and what is known of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jointrain.networks import Network
from jointrain.training._cross_fitted_weights import State
from jointrain.training._placement import put_state, whole_state


@dataclass(frozen=True)
class FittedNetwork:
    """A trained network, and the tasks that it predicts.

    Args:
        tasks: Names of the tasks.
        network: Predicts standardised targets and logits; it may have heads of more tasks.
        weights: The loss weights with which it was trained.
        validation: Loss of each task on the validation rows, at the restored weights.
        epochs: Epochs made, and the epoch whose weights were kept.
        by_half: Weights that were best on the first half of the validation rows, and on the second
            one, where these were cut in two; see `CrossFittedWeights`.
    """

    tasks: tuple[str, ...]
    network: Network
    weights: Mapping[str, float]
    validation: Mapping[str, float]
    epochs: tuple[int, int]
    by_half: tuple[State, State] | None = None

    def choose_half(self, half: int) -> None:
        """Set the network to the weights that were best on one half, 0 or 1, if there are any."""
        if self.by_half is not None:
            put_state(self.network, self.by_half[half])

    def give_weights(self, network: Network) -> None:
        """Set another network of the same layers to the weights and buffers of this one."""
        put_state(network, whole_state(self.network))


def mean_validation(parts: Sequence[FittedNetwork]) -> dict[str, float]:
    """Return the validation loss of each task, the mean over the networks that predict it."""
    measured: dict[str, list[float]] = {}
    for part in parts:
        for name, loss in part.validation.items():
            measured.setdefault(name, []).append(loss)
    return {name: sum(losses) / len(losses) for name, losses in measured.items()}
