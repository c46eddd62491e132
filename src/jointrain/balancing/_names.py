"""The names of all methods, for the command line and for configuration files."""

from __future__ import annotations

import inspect
from typing import Any

from jointrain.balancing import aggregation, bilevel, weighting
from jointrain.balancing._balancer import Balancer
from jointrain.errors import InvalidInputError, closest

BALANCERS: dict[str, type[Balancer]] = {
    cls.name: cls
    for package in (weighting, aggregation, bilevel)
    for cls in (getattr(package, public) for public in package.__all__)
}
"""Every method by the name that the command line gives it; ``cls.summary()`` is its one line."""


def balancer_from_name(name: str, **hyperparameters: Any) -> Balancer:
    """Build the balancer called `name` on the command line.

    Args:
        name: One of `BALANCERS`; upper case and underscores are allowed.
        **hyperparameters: What its constructor takes.

    Raises:
        InvalidInputError: There is no such method, or it has no such hyper-parameter.
    """
    key = name.lower().replace("_", "-")
    if key not in BALANCERS:
        raise InvalidInputError(
            f"there is no balancer {name!r}{closest(key, BALANCERS)} (`jointrain balancers` lists "
            f"all names)"
        )
    cls = BALANCERS[key]
    known = [p for p in inspect.signature(cls).parameters if p != "self"]
    for given in hyperparameters:
        if given not in known:
            raise InvalidInputError(
                f"Balancer {key!r} has no hyper-parameter {given!r}{closest(given, known)}. "
                f"It takes {known}."
            )
    return cls(**hyperparameters)
