"""The parameters of tasks, in words."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from inspect import Parameter as PythonParameter
from typing import Any, cast

from horsies.codec.problems import show_type
from horsies.codec.signature import SignatureCodec
from horsies.codec.text import decode_json
from horsies.web.formats import line

_MOST_CHOICES = 40


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a task.

    Attributes:
        name: Its name.
        type: Its type, as in source code.
        is_required: Whether it has no default.
        default: Its default as JSON, cut; None: it has none, or none that can be shown.
        choices: The values that it may have, as JSON; empty: any value of its type.
        is_text: Whether it takes any text.
        is_number: Whether it takes numbers only.
        is_secret: Whether it is secret, or a part of it is.
    """

    name: str
    type: str
    is_required: bool
    default: str | None
    choices: tuple[str, ...]
    is_text: bool
    is_number: bool
    is_secret: bool


def parameters_of(signature: SignatureCodec) -> tuple[Parameter, ...]:
    """Return the parameters of a task, in their order."""
    schema = signature.json_schema()
    properties = cast("dict[str, Any]", schema.get("properties", {}))
    defaults = cast("dict[str, Any]", decode_json(signature.encode_defaults()))
    secret = {path[0] for path in signature.secret_paths}
    return tuple(
        _parameter(name, each, _resolved(properties.get(name), schema), defaults, is_secret=name in secret)
        for name, each in signature.parameters.items()
    )


def _parameter(
    name: str, parameter: PythonParameter, schema: Mapping[str, Any], defaults: Mapping[str, Any], *, is_secret: bool
) -> Parameter:
    kind = schema.get("type")
    default = line(json.dumps(defaults[name], ensure_ascii=False, default=str), 200) if name in defaults else None
    return Parameter(
        name=name,
        type=line(show_type(parameter.annotation), 200),
        is_required=parameter.default is PythonParameter.empty,
        default=None if is_secret else default,
        choices=_choices(schema),
        is_text=kind == "string",
        is_number=kind in {"integer", "number"},
        is_secret=is_secret,
    )


def _resolved(schema: object, whole: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema of a parameter. One that refers to a definition, as those of enums do, is replaced by that."""
    found = cast("dict[str, Any]", schema) if isinstance(schema, dict) else {}
    definition = str(found.get("$ref", "")).rpartition("/")[2]
    return cast("dict[str, Any]", whole.get("$defs", {})).get(definition, found)


def _choices(schema: Mapping[str, Any]) -> tuple[str, ...]:
    if schema.get("type") == "boolean":
        return ("true", "false")
    values = cast("list[object]", schema.get("enum", []))
    return tuple(json.dumps(value, ensure_ascii=False) for value in values) if len(values) <= _MOST_CHOICES else ()
