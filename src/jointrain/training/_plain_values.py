"""Values such as recipes from plain ones, as JSON and config files hold them."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from jointrain.errors import InvalidInputError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

_Value = TypeVar("_Value")


@cache
def adapter_of(kind: Any) -> TypeAdapter[Any]:
    """Return what reads and writes a dataclass as plain values; making it takes milliseconds."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def from_plain(kind: type[_Value], values: Any, what: str) -> _Value:
    """Return a dataclass made of plain values.

    Args:
        kind: The dataclass.
        values: Its fields, as JSON can hold them.
        what: What messages call it; may be empty.

    Raises:
        InvalidInputError: A key is unknown or missing, or a value can't be used.
    """
    from pydantic import ValidationError

    try:
        dataclass: Any = kind  # mypy knows no type that is sure to be hashable
        made: _Value = adapter_of(dataclass).validate_python(values)
        return made
    except ValidationError as error:
        faults = error.errors()
        # where several kinds are possible, only the one that was meant can tell what is wrong
        other_kinds = [
            fault["loc"][:-1]
            for fault in faults
            if fault["loc"] and fault["loc"][-1] == "kind" and fault["type"] == "literal_error"
        ]
        meant = [
            fault
            for fault in faults
            if not any(fault["loc"][: len(other)] == other for other in other_kinds)
        ]
        first = (meant or faults)[0]
        message = first["msg"].removeprefix("Value error, ")
        where = [what, ".".join(str(part) for part in first["loc"]), message]
        raise InvalidInputError(": ".join(part for part in where if part)) from None
