"""Settings of a command from its flags and a config file; what can't be used in one line."""

from __future__ import annotations

import re
import reprlib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_origin

from pydantic import BaseModel, ValidationError

from jointrain.cli._value_forms import column_names, names_code
from jointrain.errors import InvalidInputError, closest
from jointrain.system.stored_files import DamagedError, read_file

_Model = TypeVar("_Model", bound=BaseModel)

_LARGEST_CONFIG = 1 << 20
"""Bytes of a config file at most."""

_MOST_PARTS = 100
"""Parts of a key at most; the reader takes time with their square."""

_KEYS = re.compile(r"^[\w .\t\"'\[-]+", re.MULTILINE)


def load_settings(
    model: type[_Model],
    flags: Mapping[str, Any],
    config: Path | None,
    *,
    own: type[_Model] | None = None,
) -> _Model:
    """Return the settings from flags and config file, flags winning.

    Args:
        model: The command's settings.
        flags: What the command line said; None where it said nothing.
        config: A TOML file with keys named like the flags, dashes or underscores alike.
        own: The settings where the table is ``module:name``, code of one's own.

    Raises:
        InvalidInputError: The file can't be read, a key is unknown, or a value can't be used.
    """
    values = {} if config is None else _read_config(model, config)
    mappings = [
        field.alias or name
        for name, field in model.model_fields.items()
        if get_origin(field.annotation) is dict
    ]
    # what is a mapping is cut at its commas where it is read: a second time would cut quoted names
    given = {
        name: column_names(value) if isinstance(value, list) and name not in mappings else value
        for name, value in flags.items()
        if value is not None and value is not False and value != []
    }
    values.update(given)
    if own is not None and names_code(str(values.get("table"))):
        model = own
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "missing":
            named = "the TABLE" if name == "table" else flag_named(name)
            raise InvalidInputError(f"{named} is missing; see --help") from None
        in_file = config is not None and name not in given
        source = f"{config}: {name}" if in_file else flag_named(name)
        message = message[0].lower() + message[1:]
        message = message.replace("for <class 'pathlib.Path'>", "of a file")
        if ", got " not in message:  # else it names the part of the input that is wrong
            message += f", got {reprlib.repr(first['input'])}"
        raise InvalidInputError(f"{source}: {message}") from None


def _read_config(model: type[BaseModel], path: Path) -> dict[str, Any]:
    try:
        text = read_file(path, largest=_LARGEST_CONFIG).decode()
    except OSError as error:
        raise InvalidInputError(f"{path} can't be read: {error.strerror}") from None
    except DamagedError as error:
        raise InvalidInputError(f"{path} is no config file: {error}") from None
    except UnicodeDecodeError:
        raise InvalidInputError(f"{path} is not TOML: it is not in UTF-8") from None
    if any(key[0].count(".") > _MOST_PARTS for key in _KEYS.finditer(text)):
        raise InvalidInputError(f"{path} has a key of more than {_MOST_PARTS} parts")
    try:
        content = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also numbers of thousands of digits
        reason = str(error).splitlines()[0][:200]
        raise InvalidInputError(f"{path} is not TOML: {reason}") from None
    known = {field.alias or name for name, field in model.model_fields.items()}
    values = {}
    for key, value in content.items():
        name = key.replace("-", "_")
        if name not in known:
            raise InvalidInputError(f"{path}: unknown key {key!r}{closest(name, known)}")
        values[name] = value
    return values


def flag_named(name: str) -> str:
    """Return the flag of a setting, such as ``--batch-size``."""
    return "--" + name.replace("_", "-")
