"""Code of one's own that a bundle names and never imports: found among what the loader gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from jointrain.errors import InvalidInputError, MissingFactoryError

Factories: TypeAlias = Mapping[str, Any]
"""Code of one's own, such as a network's factory, by the path that a bundle tells, or its name."""


class UnfitFactoryError(InvalidInputError):
    """A saved model is whole, but what was given makes another network, or none."""


def given_code(path: str, factories: Factories) -> Any:
    """Return what was given for a path, None if nothing was."""
    return factories.get(path, factories.get(path.partition(":")[2]))


def network_factory(path: str, factories: Factories) -> Any:
    """Return what makes the network of a bundle.

    Raises:
        MissingFactoryError: It was not given.
    """
    found = given_code(path, factories)
    if found is None:
        raise MissingFactoryError(
            f"the model has the network {path!r}, and a bundle runs no code: if you "
            f"trust it, pass load_bundle(path, factories={{{path!r}: ...}}) or "
            f"--factory MODULE:{path.partition(':')[2]}"
        )
    return found


def changed_code(path: str) -> str:
    """Return in a sentence that what was given for a path is other code than that of the bundle."""
    return (
        f"what was given for {path!r} is not the code that the model was saved with (or another "
        "Python compiled it), so its predictions may differ"
    )
