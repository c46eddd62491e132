"""The names of all methods, for the command line, configuration files and bundles."""

from __future__ import annotations

import inspect
from typing import Any

from jointrain.balancing import aggregation, bilevel, sharpness, weighting
from jointrain.balancing._balancer import Balancer
from jointrain.errors import InvalidInputError, closest
from jointrain.system.plug_ins import Names

BALANCERS: dict[str, type[Balancer]] = {
    cls.name: cls
    for package in (weighting, aggregation, bilevel, sharpness)
    for cls in package.METHODS.values()
}
"""Every method by the name that the command line gives it; ``cls.summary()`` is its one line."""


def as_balancer_class(name: str, given: object) -> type[Balancer]:
    """Return a class of balancers as it is.

    Raises:
        InvalidInputError: It is none.
    """
    if not isinstance(given, type) or not issubclass(given, Balancer):
        raise InvalidInputError(
            f"{name!r} must be a class that derives from a kind of balancer, such as "
            f"GramianWeighting, got {given!r}"
        )
    return given


BALANCER_NAMES = Names("balancer", BALANCERS, as_balancer_class)
"""Methods by name; packages add theirs by the entry point ``jointrain.balancers``."""


def balancer_from_name(name: str, **hyperparameters: Any) -> Balancer:
    """Build the balancer called `name` on the command line.

    Args:
        name: One that `jointrain balancers` lists; upper case and underscores are allowed.
        **hyperparameters: What its constructor takes.

    Raises:
        InvalidInputError: There is no such method, or it has no such hyper-parameter.
    """
    key = name.lower().replace("_", "-")
    cls = BALANCER_NAMES.get(key)
    known = [p for p in inspect.signature(cls).parameters if p != "self"]
    for given in hyperparameters:
        if given not in known:
            raise InvalidInputError(
                f"Balancer {key!r} has no hyper-parameter {given!r}{closest(given, known)}. "
                f"It takes {known}."
            )
    return cls(**hyperparameters)
