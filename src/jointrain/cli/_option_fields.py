"""Options of training as settings of a command: from their fields, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from pydantic import BaseModel, Field, create_model

from jointrain.options import options_of

_Model = TypeVar("_Model", bound=BaseModel)


def with_options(
    options: type, *, defaults: Mapping[str, Any] | None = None
) -> Callable[[type[_Model]], type[_Model]]:
    """Give a command's settings a field for each option of a dataclass.

    Words are written with dashes, and 0 stands for None where that can't be said otherwise.

    Args:
        options: The dataclass, see `jointrain.options`.
        defaults: Defaults in place of its own, by name.
    """
    own: dict[str, Any] = {one.name: one.default for one in fields(options)}
    own |= defaults or {}
    hints = get_type_hints(options)
    made: dict[str, Any] = {}
    for name, known in options_of(options).items():
        kind, default = hints[name], own[name]
        above = known.above
        least = known.at_least
        if known.zero_for_none:
            kind = next(part for part in get_args(kind) if part is not type(None))
            default, above, least = default or 0, None, 0
        if get_origin(kind) is Literal:
            kind = Literal[tuple(_dashed(word) for word in get_args(kind))]
            default = _dashed(default)
        made[known.flag or name] = (
            kind,
            Field(
                default, description=known.help, ge=least, gt=above, le=known.at_most,
                lt=known.below,
            ),
        )  # fmt: skip

    def decorate(model: type[_Model]) -> type[_Model]:
        return create_model(model.__name__, __base__=model, __doc__=model.__doc__, **made)

    return decorate


def said(settings: BaseModel, options: type) -> dict[str, Any]:
    """Return the values of a dataclass's options in a command's settings."""
    values = {}
    for name, known in options_of(options).items():
        value = getattr(settings, known.flag or name)
        if known.choices:
            value = value.replace("-", "_")
        values[name] = (value or None) if known.zero_for_none else value
    return values


def _dashed(word: str) -> str:
    return word.replace("_", "-")
