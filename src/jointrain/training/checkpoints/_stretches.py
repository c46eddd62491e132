"""Stretches: which part of a run is trained, and which parts of a resumed run are over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from jointrain.training._placement import load_unstored_buffers, unstored_buffers
from jointrain.training.checkpoints._random_states import random_states, set_random_states


class Stretches:
    """The stretches of a run by their keys; a resumed run passes over those that are over.

    Who runs them asks `passed` for each in their order, calls `begin` before it opens the session
    of one that is not over, and `take` when the session starts.

    Args:
        device: Where the network is trained.
        resumed: What `state_dict` gave in the run that goes on here; None to begin.

    Attributes:
        notes: What later stretches have to know of earlier ones, stored with them.
    """

    def __init__(self, device: torch.device, resumed: Mapping[str, Any] | None = None) -> None:
        self._device = device
        self._resumed = resumed
        self._taken_up: Mapping[str, Any] | None = None
        self._key: str | None = None
        self._outer: Mapping[str, Any] = {}
        self.notes: dict[str, Any] = {} if resumed is None else dict(resumed["notes"])

    def passed(self, key: str) -> bool:
        """Return whether a stretch is over."""
        # a state from before the first stretch has no key
        return self._resumed is not None and self._resumed["key"] not in (None, key)

    def begin(self, key: str) -> None:
        """Begin a stretch; random numbers are then as they were before it."""
        self._key = key
        resumed, self._resumed = self._resumed, None
        if resumed is None:
            self._outer = random_states(self._device)
            return
        if resumed["session"] is None:
            # from before this stretch, which begins
            self._outer = resumed["random"]
        else:
            self._outer, self._taken_up = resumed["outer"], resumed
        set_random_states(self._outer, self._device)

    def take(self, network: nn.Module | None) -> Any | None:
        """Return the state of the session that goes on, with random numbers set to it.

        Args:
            network: What the session trains, which gets its weights where `state_dict` kept them.
        """
        if self._taken_up is None:
            return None
        stretch, self._taken_up = self._taken_up, None
        if network is not None and stretch["network"] is not None:
            network.load_state_dict(stretch["network"])
            load_unstored_buffers(network, stretch.get("buffers") or {})
        set_random_states(stretch["random"], self._device)
        return stretch["session"]

    def state_dict(
        self, session: Mapping[str, Any] | None, network: nn.Module | None = None
    ) -> dict[str, Any]:
        """Return the place in the run, with the state of the session.

        Args:
            session: The state; None where no session runs, before a stretch or after it.
            network: What the session trains, where that has no other place.
        """
        if self._resumed is not None:
            return dict(self._resumed)  # a resumed run is not further yet
        return {
            "network": None if network is None else network.state_dict(),
            "buffers": None if network is None else unstored_buffers(network),
            "key": self._key,
            "notes": self.notes,
            "outer": self._outer,
            "random": random_states(self._device),
            "session": session,
        }
