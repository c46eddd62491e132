"""Networks compiled by torch.compile, for the losses of training alone."""

from __future__ import annotations

from typing import Any

import torch

from jointrain.errors import InvalidInputError
from jointrain.networks import Network

BACKEND = "inductor"
"""What torch.compile makes programs with."""

_PROGRAMS = 1024
"""How many torch may make of a network: one for each size of a batch and each set of tasks."""


class CompiledNetwork:
    """Computes what a network does, by programs that torch makes of it when they are first needed.

    The network itself stays as it is, with its names of weights; copies of this are compiled anew.

    Args:
        network: Maps inputs to outputs by task.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self._compiled: Any = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return the network's outputs.

        Raises:
            InvalidInputError: Torch can't compile the network here.
        """
        # torch makes its compiler's modules when they are first asked for, which takes seconds
        import torch._dynamo as dynamo
        from torch._functorch import config
        from torch._inductor import config as inductor

        try:
            if self._compiled is None:
                # sizes are no variables: the program of a size must not depend on earlier ones,
                # or a resumed run would go on with other bits
                self._compiled = torch.compile(self.network, backend=BACKEND, dynamic=False)
            limits = dynamo.config.patch(recompile_limit=_PROGRAMS)
            # a balancer may go backward several times through one forward pass
            passes = config.patch(donated_buffer=False)
            # dropout draws the numbers that it draws without a compiler
            with limits, passes, inductor.patch(fallback_random=True):
                return self._compiled(*args, **kwargs)
        except (RuntimeError, ImportError) as error:
            raise_if_not_compiled(error, type(self.network).__name__)
            raise

    def __getstate__(self) -> dict[str, Any]:
        """Return what is copied and pickled: not the programs."""
        return self.__dict__ | {"_compiled": None}


def raise_if_not_compiled(error: Exception, name: str) -> None:
    """Say it in words if an error is torch's that it can't compile.

    Raises:
        InvalidInputError: It is.
    """
    from torch._dynamo.exc import TorchDynamoException

    unknown = "torch.compile is not supported" in str(error)
    if isinstance(error, TorchDynamoException) or unknown:
        told = str(getattr(error, "inner_exception", error))
        reason = next((line for line in told.splitlines() if line.strip()), "no reason given")
        raise InvalidInputError(
            f"torch.compile can't compile {name} here ({reason.strip()[:300]}); on a CPU it needs "
            f"a C++ compiler such as g++, on a GPU Triton; install that, or leave `compile` out"
        ) from error
