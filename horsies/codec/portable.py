"""The form of a pydantic core schema that goes to JSON and comes back.

pydantic's own form of `bytes` in JSON is UTF-8, and a set is written in the order of its hashes, which differs between
processes. Here bytes are base64, sets are sorted, and an error may carry fields that its class does not know.
"""

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Any, cast

from pydantic_core import core_schema

from horsies.codec.problems import UnsupportedType
from horsies.codec.text import encode_json
from horsies.task_result import TaskError

type Schema = dict[str, Any]

_NO_JSON_FORM = {
    "callable": "a function",
    "generator": "an iterator (a list or a Sequence has one)",
    "is-instance": "an instance of an arbitrary class",
    "is-subclass": "a class",
}
_NO_KEYS = frozenset({"dataclass", "dict", "frozenset", "list", "model", "none", "set", "tuple", "typed-dict"})
_FUNCTIONS = frozenset({"function-after", "function-before", "function-plain", "function-wrap"})
_TRANSFORMS = frozenset({"strip_whitespace", "to_lower", "to_upper"})
_OPAQUE = frozenset({"config", "context", "default", "expected", "function", "members", "metadata"})
_BY_NAME = frozenset({"choices", "fields"})
_CONSTRAINTS = frozenset(
    {"ge", "gt", "le", "lt", "max_length", "metadata", "min_length", "multiple_of", "pattern", "strict", "type"}
)
_JSON_SCALARS = frozenset({bool, int, str})
_EXACT: dict[str, type] = {"bool": bool, "float": float, "int": int, "none": type(None), "str": str}


@dataclass
class Portable:
    """A schema made portable, and what was met in it.

    Attributes:
        schema: the portable form.
        changed: it differs from pydantic's own.
        reads_python: a validator turns what JSON holds into Python objects before the types are looked at; strict
            JSON rules (a date may be a string) no longer apply behind it.
        transforms: validation may give another value than it was given.
    """

    original: Schema
    changed: bool = False
    reads_python: bool = False
    transforms: bool = False
    schema: Schema = field(init=False)

    def __post_init__(self) -> None:
        """Walk through the schema.

        Raises:
            UnsupportedType: a part of it has no JSON form.
        """
        self.schema = self._portable(self.original)

    def _portable(self, node: Schema) -> Schema:
        kind = node.get("type")
        if kind in _NO_JSON_FORM:
            msg = f"there is no JSON form of {_NO_JSON_FORM[kind]}"
            raise UnsupportedType(msg)
        if kind == "dict":
            _check_keys(node)
        if node.get("custom_init"):
            return node  # its __init__ runs the model's own validators, which know pydantic's forms only
        if kind in _FUNCTIONS and _is_users(node["function"]):
            self.transforms = True
            self.reads_python |= kind != "function-after"
        self.transforms |= not _TRANSFORMS.isdisjoint(node) or _config_transforms(node)
        copy = {key: self._part(key, part, node) for key, part in node.items()}
        return self._adapted(kind, copy)

    def _part(self, key: str, part: Any, node: Schema) -> Any:
        if key in _OPAQUE or (key == "python_schema" and node.get("type") == "json-or-python"):
            return part
        if key == "lax_schema" and node.get("type") == "lax-or-strict":
            return part
        if key == "serialization":
            return {name: self._schema_in(inner) if name.endswith("schema") else inner for name, inner in part.items()}
        if key in _BY_NAME and isinstance(part, dict):
            return {name: self._schema_in(inner) for name, inner in cast("Schema", part).items()}
        return self._schema_in(part)

    def _schema_in(self, part: Any) -> Any:
        if isinstance(part, dict):
            return self._portable(cast("Schema", part))
        if isinstance(part, list | tuple):
            return type(cast("list[Any]", part))(self._schema_in(item) for item in cast("list[Any]", part))
        return part

    def _adapted(self, kind: object, node: Schema) -> Schema:
        adapt = _ADAPTERS.get(kind) if isinstance(kind, str) and "serialization" not in node else None
        adapted = node if adapt is None else adapt(node)
        self.changed |= adapted is not node
        return adapted


def _check_keys(node: Schema) -> None:
    kind = node.get("keys_schema", {}).get("type")
    if kind in _NO_KEYS:
        msg = f"the keys of a JSON object are strings: {kind} is no type for the keys of a dict"
        raise UnsupportedType(msg)


def _is_users(validator: Schema) -> bool:
    """Whether a validator is none of those that pydantic and this library use for types of their own."""
    module = getattr(validator["function"], "__module__", None) or ""
    return not module.startswith(("pydantic._internal", "horsies."))


def _config_transforms(node: Schema) -> bool:
    config: Schema = node.get("config") or {}
    return any(config.get(f"str_{transform}") for transform in _TRANSFORMS)


def _in_json(node: Schema, read: core_schema.CoreSchema, write: Callable[[Any], str]) -> Schema:
    """What a schema stays in Python has another form in JSON."""
    python = cast("core_schema.CoreSchema", node)
    serialization = core_schema.plain_serializer_function_ser_schema(write, when_used="json")
    schema = core_schema.json_or_python_schema(json_schema=read, python_schema=python, serialization=serialization)
    return cast("Schema", schema)


def _base64_bytes(node: Schema) -> Schema:
    text = core_schema.no_info_after_validator_function(_from_base64, core_schema.str_schema(strict=True))
    return _in_json(node, core_schema.chain_schema([text, cast("core_schema.CoreSchema", node)]), _to_base64)


def _from_base64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _to_base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _sorted_set(node: Schema) -> Schema:
    return node | {"serialization": core_schema.wrap_serializer_function_ser_schema(_in_order, when_used="json")}


def _in_order(value: object, write: core_schema.SerializerFunctionWrapHandler) -> list[Any]:
    return sorted(cast("list[Any]", write(value)), key=encode_json)


def _named_enum(node: Schema) -> Schema:
    """Members whose values JSON can't tell apart, tuples say, go by their names."""
    kind: type[Enum] = node["cls"]
    if all(type(member.value) in _JSON_SCALARS for member in kind):
        return node
    text = core_schema.str_schema(strict=True)
    return _in_json(node, core_schema.no_info_after_validator_function(partial(_member, kind), text), _member_name)


def _member(kind: type[Enum], name: str) -> Enum:
    try:
        return kind[name]
    except KeyError:
        msg = f"{name!r} is no member of {kind.__name__}"
        raise ValueError(msg) from None


def _member_name(member: Enum) -> str:
    return member.name


def _tolerant_error(node: Schema) -> Schema:
    """Let a stored error have unknown fields: it may be a subclass's, or a newer release may have dropped them."""
    config: Schema = node.get("config") or {}
    if not issubclass(node["cls"], TaskError) or config.get("extra_fields_behavior") != "forbid":
        return node
    return node | {"config": config | {"extra_fields_behavior": "ignore"}}


_ADAPTERS: dict[str, Callable[[Schema], Schema]] = {
    "bytes": _base64_bytes,
    "enum": _named_enum,
    "frozenset": _sorted_set,
    "model": _tolerant_error,
    "set": _sorted_set,
}


def exact_types(schema: Schema) -> frozenset[type] | None:
    """Return the types whose own instances go to JSON and back unchanged by this schema, if it is as simple as that."""
    kind = schema.get("type")
    if kind == "nullable":
        inner = exact_types(schema["schema"])
        return None if inner is None or schema.keys() - {"metadata", "schema", "type"} else inner | {type(None)}
    if kind not in _EXACT or schema.keys() - _CONSTRAINTS:
        return None
    return frozenset({_EXACT[kind]})
