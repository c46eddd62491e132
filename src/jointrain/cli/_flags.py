"""Flags of commands: made from the fields of their settings, or those of reading a table."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import typer
from pydantic import BaseModel

from jointrain.cli._config_file import flag_named, load_settings
from jointrain.cli._help_panels import panel_of
from jointrain.cli._reading import reading_options

TABLE_HELP = (
    "File (CSV, TSV, JSON lines, Parquet, Arrow, Excel), - for standard input, or the address of a "
    "database: postgresql://HOST/NAME?table=TABLE, sqlite:///FILE?table=TABLE."
)
EXPERIMENT_HELP = " Or MODULE:NAME, an Experiment (or a Study) of your own."

JSON = Annotated[bool, typer.Option("--json", help="Print the result as JSON, for machines.")]

FACTORY = Annotated[
    list[str] | None,
    typer.Option(
        help="Code of your own that a bundle needs, MODULE:NAME: what makes its network, or a "
        "baseline; it is run. Repeatable."
    ),
]
_READING = {
    "encoding": "Encoding of a text file; default as at fit.",
    "separator": "What stands between the fields of a text file, or tab; default as at fit.",
    "comment": "What lines that are skipped begin with; '' none; default as at fit.",
    "missing": "Cells that mean a missing value, separated by commas.",
    "decimal": "Decimal mark of numbers, . or ,",
    "thousands": "Mark between thousands; '' for none.",
    "date_format": "How dates are written, such as %d/%m/%Y, or NAME=%d/%m/%Y.",
    "time_zone": "Zone of dates that have none, or to convert to where training had none.",
}
"""Flags that say how the table of a fitted model is written, with their help."""

READING_OF_RUNS = _READING | {
    "encoding": "Encoding of a text file, such as cp1252 or utf-16; default UTF-8.",
    "separator": "What stands between the fields of a text file, or tab; default found.",
    "comment": "What lines that are skipped begin with; default # at the top; '' none.",
    "decimal": "Decimal mark of numbers, a point or a comma.",
    "time_zone": "Zone that hours are counted in, such as Europe/Berlin.",
}
"""The same where no model was fitted."""


def flags_of(
    model: type[BaseModel], own: type[BaseModel] | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command a flag for each field of its settings; it is called with what was said.

    Args:
        model: The settings.
        own: Those with the same fields where ``module:name`` stands in the place of the table.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        help_text = TABLE_HELP + (EXPERIMENT_HELP if own is not None else "")
        parameters = [
            inspect.Parameter(
                "table",
                inspect.Parameter.POSITIONAL_OR_KEYWORD,
                default=None,
                annotation=Annotated[str | None, typer.Argument(help=help_text)],
            ),
        ]
        fields = {
            field.alias or name: field
            for name, field in model.model_fields.items()
            if name != "table" and field.json_schema_extra != {"in_file_only": True}
        }
        for flag in sorted(fields, key=panel_of):
            field = fields[flag]
            shown, choices = _flag_type(field.annotation)
            help_text = field.description or ""
            if any(len(choice) > 1 for choice in choices):  # marks are told in words
                help_text += f" One of {', '.join(choices)}."
            default = field.default  # 0 is one; False is told by the flag
            if not (field.is_required() or default is False or default in (None, "", [], {})):
                help_text += f" Default {default}."
            option = typer.Option(
                flag_named(flag), help=help_text, rich_help_panel=panel_of(flag)[2]
            )
            parameters.append(
                inspect.Parameter(
                    flag,
                    inspect.Parameter.KEYWORD_ONLY,
                    default=False if shown is bool else None,
                    annotation=Annotated[shown if shown is bool else shown | None, option],
                )
            )

        parameters.append(
            inspect.Parameter(
                "config",
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=Annotated[
                    Path | None,
                    typer.Option(
                        help="TOML file with any of these; flags win.",
                        rich_help_panel=panel_of("config")[2],
                    ),
                ],
            )
        )

        def wrapper(**flags: Any) -> None:
            config = flags.pop("config")
            command(load_settings(model, flags, config, own=own))

        wrapper.__name__, wrapper.__doc__ = command.__name__, command.__doc__
        wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
        return wrapper

    return decorate


def _flag_type(annotation: Any) -> tuple[Any, tuple[str, ...]]:
    """Return the type of a flag for a field's type, and its choices."""
    if get_origin(annotation) in (Union, types.UnionType):
        inner = [part for part in get_args(annotation) if part is not type(None)]
        return _flag_type(inner[0])
    if get_origin(annotation) is Annotated:
        return _flag_type(get_args(annotation)[0])
    if get_origin(annotation) is Literal:
        return str, get_args(annotation)
    if get_origin(annotation) in (list, dict):
        return list[str], ()
    return annotation, ()


def with_reading(
    command: Callable[..., int | None], texts: Mapping[str, str] = _READING
) -> Callable[..., int | None]:
    """Give a command the flags of reading in the place of its parameter `options`.

    Args:
        command: The command.
        texts: The flags, with their help; default those for the table of a fitted model.
    """
    hints = get_type_hints(command, localns={"ReadingOptions": Any}, include_extras=True)
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        if name != "options":
            parameters.append(parameter.replace(annotation=hints[name]))
            continue
        parameters += [
            inspect.Parameter(
                flag,
                inspect.Parameter.POSITIONAL_OR_KEYWORD,
                default=None,
                annotation=Annotated[str | None, typer.Option(help=text)],
            )
            for flag, text in texts.items()
        ]

    def wrapper(**given: Any) -> Any:
        said = {flag: given.pop(flag) for flag in _READING}
        return command(**given, options=reading_options(**said))

    wrapper.__name__, wrapper.__doc__ = command.__name__, command.__doc__
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
    return wrapper
