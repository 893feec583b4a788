"""A result of a verb as JSON, for machines: its fields by their names, save those that begin with an underscore."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print the result's fields as JSON.")]


def print_json(result: Any) -> None:
    """Print a result, or a tuple of them as a list."""
    several = isinstance(result, tuple)
    print(json.dumps([_public(item) for item in result] if several else _public(result), indent=2, default=_as_json))


def _public(result: Any) -> dict[str, Any]:
    fields = {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}
    return {name: value for name, value in fields.items() if not name.startswith("_")}


def _as_json(value: Any) -> Any:
    return _public(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else str(value)
