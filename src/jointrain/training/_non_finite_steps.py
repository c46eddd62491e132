"""What becomes of steps whose losses or gradients are not finite."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from jointrain.balancing import Balancer
from jointrain.errors import InvalidInputError, NonFiniteError
from jointrain.training._learning_rates import LearningRates
from jointrain.training._optimizer import OptimizerList
from jointrain.training._placement import placed_like, put_state, whole_state
from jointrain.training._weight_average import WeightAverage


class NonFiniteSteps:
    """Leaves such steps out, or goes back to the last good state, up to a limit.

    Args:
        limit: How many such steps a session may have.
        goes_back: Whether each of them sets all that is trained back to the start of the epoch
            and halves the learning rates.
        module: What is trained.
        optimizers: Of it.
        balancer: Likewise, if there is one.
        balancer_optimizer: Of the balancer's own parameters.
        average: Of the weights, if there is one.
        rates: Schedulers of the learning rates.

    Attributes:
        count: How many there were.
        in_epoch: How many of them in this epoch.
    """

    def __init__(
        self,
        limit: int,
        goes_back: bool,
        module: nn.Module,
        optimizers: OptimizerList,
        balancer: Balancer | None,
        balancer_optimizer: torch.optim.Optimizer | None,
        average: WeightAverage | None,
        rates: LearningRates | None,
    ) -> None:
        self.count = 0
        self.in_epoch = 0
        self._limit = limit
        self._goes_back = goes_back
        self._module = module
        self._optimizers = optimizers
        self._balancer = balancer
        self._balancer_optimizer = balancer_optimizer
        self._average = average
        self._rates = rates
        self._good: dict[str, Any] | None = None
        self.keep()

    def keep(self) -> None:
        """Keep the state as the one to go back to, at the start of an epoch."""
        if self._goes_back and all(bool(p.isfinite().all()) for p in self._module.parameters()):
            self._good = copy.deepcopy(self._state())

    def take(
        self, make: Callable[[], Mapping[str, Tensor]], step: int
    ) -> Mapping[str, Tensor] | None:
        """Make a step; return its losses, None if it was left out.

        Raises:
            InvalidInputError: There are more such steps than the limit says.
        """
        buffers = [buffer.clone() for buffer in self._module.buffers()]
        learned = None
        if self._balancer is not None:
            learned = copy.deepcopy(self._balancer.state_dict())
        try:
            return make()
        except NonFiniteError as error:
            self.count += 1
            self.in_epoch += 1
            if self.count > self._limit:
                raise InvalidInputError(
                    f"{self.count} steps were not finite, the last one step {step}, and "
                    f"`non_finite_limit` is {self._limit}; lower the learning rate, clip the "
                    f"gradient or look at the data ({error})"
                ) from error
        self._optimizers.zero_grad()
        if self._goes_back and self._good is not None:
            self._go_back(self._good)
            return None
        with torch.no_grad():
            for buffer, before in zip(self._module.buffers(), buffers, strict=True):
                buffer.copy_(before)
        if self._balancer is not None and learned is not None:
            self._balancer.set_back(learned)
        return None

    def _state(self) -> dict[str, Any]:
        learned, own = self._balancer, self._balancer_optimizer
        return {
            "module": whole_state(self._module),
            "optimizers": [state["state"] for state in self._optimizers.state_dict()],
            "balancer": None if learned is None else dict(learned.state_dict()),
            "balancer_optimizer": None if own is None else own.state_dict(),
            "average": None if self._average is None else self._average.values,
        }

    def _go_back(self, good: Mapping[str, Any]) -> None:
        good = copy.deepcopy(dict(good))
        put_state(self._module, good["module"])
        # rates are those of now, halved: a scheduler goes on where it is
        groups = [state["param_groups"] for state in self._optimizers.state_dict()]
        pairs = zip(good["optimizers"], groups, strict=True)
        self._optimizers.load_state_dict(
            [{"state": state, "param_groups": group} for state, group in pairs]
        )
        self._optimizers.scale_base_rates(0.5, groups=True)
        if self._rates is not None:
            self._rates.scale(0.5)
        if self._balancer is not None:
            self._balancer.set_back(good["balancer"])
        if self._balancer_optimizer is not None:
            self._balancer_optimizer.load_state_dict(good["balancer_optimizer"])
        if self._average is not None:
            pairs = zip(good["average"], self._average.values, strict=True)
            self._average.values = [placed_like(value, like) for value, like in pairs]

    def state_dict(self) -> dict[str, Any]:
        """Return the counts, and the state to go back to."""
        return {"count": self.count, "in_epoch": self.in_epoch, "good": self._good}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set them to what `state_dict` gave."""
        self.count, self.in_epoch = state["count"], state["in_epoch"]
        if self._goes_back:
            self._good = copy.deepcopy(dict(state["good"]))
            self._optimizers.scale_base_rates(0.5**self.count, groups=False)


def refuse_non_finite_losses(losses: Mapping[str, Tensor]) -> None:
    """Refuse losses that are not finite.

    Raises:
        NonFiniteError: One is not.
    """
    for name, loss in losses.items():
        if not bool(loss.isfinite()):
            raise NonFiniteError(f"the loss of task {name!r} is {float(loss.detach())}")


def refuse_non_finite_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Refuse gradients that are not finite.

    Raises:
        NonFiniteError: One is not.
    """
    for parameter in parameters:
        gradient = parameter.grad
        if gradient is None:
            continue
        values = gradient.coalesce().values() if gradient.is_sparse else gradient
        if not bool(values.isfinite().all()):
            raise NonFiniteError("a gradient is NaN or infinite though the losses are finite")
