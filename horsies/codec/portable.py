"""Portable pydantic core schemas, whose values can be written as JSON and read back unchanged.

pydantic writes `bytes` as UTF-8 text, and sets in the order of their hashes, which differs between processes. In a
portable schema bytes are base64, sets are sorted, and errors may have fields that their class does not know.

For example, pydantic makes this schema of ``set[bytes]``::

    {"type": "set", "items_schema": {"type": "bytes"}}

Its portable form validates and writes Python values as before. The parts that differ in JSON are added::

    {
        "type": "set",
        "items_schema": {
            "type": "json-or-python",
            "json_schema": {a strict "str", then _from_base64, then {"type": "bytes"}},
            "python_schema": {"type": "bytes"},
            "serialization": {_to_base64, "when_used": "json"},
        },
        "serialization": {_in_order, "when_used": "json"},
    }
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

# The types of schemas whose values cannot be written as JSON, and how a message names such a value.
_NO_JSON_FORM = {
    "callable": "a function",
    "generator": "an iterator (use a list or a Sequence)",
    "is-instance": "an instance of an arbitrary class",
    "is-subclass": "a class",
}
# The types of schemas whose values JSON cannot write as the key of an object.
_NO_KEYS = frozenset({"dataclass", "dict", "frozenset", "list", "model", "none", "set", "tuple", "typed-dict"})
# The types of schemas that call a validator, which may change the value.
_FUNCTIONS = frozenset({"function-after", "function-before", "function-plain", "function-wrap"})
# The keys of a string schema that change the value. The configuration of a model has them with the prefix "str_".
_TRANSFORMS = frozenset({"strip_whitespace", "to_lower", "to_upper"})
# The keys whose values are not schemas, although they may be dicts: nothing in them is converted.
_NOT_SCHEMAS = frozenset({"config", "context", "default", "expected", "function", "members", "metadata"})
# The keys whose values are dicts of schemas: the keys of these dicts are names from the user, not keys of a schema.
_SCHEMAS_BY_NAME = frozenset({"choices", "fields"})
# The keys that may restrict the values of a scalar schema, but never change one.
_CONSTRAINTS = frozenset(
    {"ge", "gt", "le", "lt", "max_length", "metadata", "min_length", "multiple_of", "pattern", "strict", "type"}
)
# The types of enum values that JSON distinguishes and reads back unchanged.
_JSON_SCALARS = frozenset({bool, int, str})
# The Python type of the values of each scalar schema, for `exact_types`.
_EXACT: dict[str, type] = {"bool": bool, "float": float, "int": int, "none": type(None), "str": str}


@dataclass
class Portable:
    """The portable form of a schema, and its properties.

    Attributes:
        original: The schema of pydantic.
        schema: The portable schema.
        changed: Whether the portable schema differs from the original.
        reads_python: Whether a custom validator runs before the types are validated. After it, pydantic no longer
            applies strict JSON rules, by which a date may be a string.
        transforms: Whether validation may change values.
    """

    original: Schema
    changed: bool = False
    reads_python: bool = False
    transforms: bool = False
    schema: Schema = field(init=False)

    def __post_init__(self) -> None:
        """Convert the schema.

        Raises:
            UnsupportedType: A part of the schema cannot be represented as JSON.
        """
        self.schema = self._convert_node(self.original)

    def _convert_node(self, node: Schema) -> Schema:
        kind = node.get("type")
        if kind in _NO_JSON_FORM:
            msg = f"{_NO_JSON_FORM[kind]} cannot be represented as JSON"
            raise UnsupportedType(msg)
        if kind == "dict":
            _check_keys(node)
        if node.get("custom_init"):
            return node  # its __init__ uses the model's prebuilt validator, which does not know the portable schema
        if kind in _FUNCTIONS and _is_users(node["function"]):
            self.transforms = True
            self.reads_python |= kind != "function-after"
        self.transforms |= not _TRANSFORMS.isdisjoint(node) or _config_transforms(node)
        copy = {key: self._convert_member(key, part, node) for key, part in node.items()}
        return self._apply_adapter(kind, copy)

    def _convert_member(self, key: str, part: Any, node: Schema) -> Any:
        if key in _NOT_SCHEMAS:
            return part
        # These two may be an instance check, which `_convert_node` would refuse, although JSON is supported: the schema
        # next to them reads it. They need no conversion. Python values stay as they are, and pydantic makes lax schemas
        # of types such as Path, which contain neither bytes nor sets.
        if key == "python_schema" and node.get("type") == "json-or-python":
            return part
        if key == "lax_schema" and node.get("type") == "lax-or-strict":
            return part
        if key == "serialization":
            return {
                name: self._convert_nested(inner) if name.endswith("schema") else inner for name, inner in part.items()
            }
        if key in _SCHEMAS_BY_NAME and isinstance(part, dict):
            return {name: self._convert_nested(inner) for name, inner in cast("Schema", part).items()}
        return self._convert_nested(part)

    def _convert_nested(self, part: Any) -> Any:
        if isinstance(part, dict):
            return self._convert_node(cast("Schema", part))
        if isinstance(part, list | tuple):
            return type(cast("list[Any]", part))(self._convert_nested(item) for item in cast("list[Any]", part))
        return part

    def _apply_adapter(self, kind: object, node: Schema) -> Schema:
        adapt = _ADAPTERS.get(kind) if isinstance(kind, str) and "serialization" not in node else None
        adapted = node if adapt is None else adapt(node)
        self.changed |= adapted is not node
        return adapted


def _check_keys(node: Schema) -> None:
    kind = node.get("keys_schema", {}).get("type")
    if kind in _NO_KEYS:
        msg = f"{kind} cannot be the type of the keys of a dict: the keys of a JSON object are strings"
        raise UnsupportedType(msg)


def _is_users(validator: Schema) -> bool:
    """Whether a validator is defined by the user, and not by pydantic or horsies."""
    module = getattr(validator["function"], "__module__", None) or ""
    return not module.startswith(("pydantic._internal", "horsies."))


def _config_transforms(node: Schema) -> bool:
    config: Schema = node.get("config") or {}
    return any(config.get(f"str_{transform}") for transform in _TRANSFORMS)


def _in_json(node: Schema, read: core_schema.CoreSchema, write: Callable[[Any], str]) -> Schema:
    """Keep a schema for Python values, and use another representation in JSON."""
    python = cast("core_schema.CoreSchema", node)
    serialization = core_schema.plain_serializer_function_ser_schema(write, when_used="json")
    schema = core_schema.json_or_python_schema(json_schema=read, python_schema=python, serialization=serialization)
    return cast("Schema", schema)


def _without_ref(adapt: "Callable[[Schema], Schema]") -> "Callable[[Schema], Schema]":
    """Let the outer schema have the name by which other parts refer to the schema that an adapter converts."""

    def convert(node: Schema) -> Schema:
        unnamed = {key: part for key, part in node.items() if key != "ref"}
        adapted = adapt(unnamed)
        if adapted is unnamed:
            return node
        return adapted | {"ref": node["ref"]} if "ref" in node else adapted

    return convert


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
    """Represent an enum by the names of its members if JSON cannot distinguish their values, such as tuples."""
    kind: type[Enum] = node["cls"]
    if all(type(member.value) in _JSON_SCALARS for member in kind):
        return node
    text = core_schema.str_schema(strict=True)
    return _in_json(node, core_schema.no_info_after_validator_function(partial(_member, kind), text), _member_name)


def _member(kind: type[Enum], name: str) -> Enum:
    try:
        return kind[name]
    except KeyError:
        msg = f"{name!r} is not a member of {kind.__name__}"
        raise ValueError(msg) from None


def _member_name(member: Enum) -> str:
    return member.name


def _tolerant_error(node: Schema) -> Schema:
    """Ignore unknown fields of a stored error, which a subclass may have added or a newer release removed."""
    config: Schema = node.get("config") or {}
    if not issubclass(node["cls"], TaskError) or config.get("extra_fields_behavior") != "forbid":
        return node
    return node | {"config": config | {"extra_fields_behavior": "ignore"}}


_ADAPTERS: dict[str, Callable[[Schema], Schema]] = {
    "bytes": _without_ref(_base64_bytes),
    "enum": _without_ref(_named_enum),
    "frozenset": _sorted_set,
    "model": _tolerant_error,
    "set": _sorted_set,
}


def exact_types(schema: Schema) -> frozenset[type] | None:
    """Return the types whose direct instances this schema certainly keeps unchanged; None for a complex schema."""
    kind = schema.get("type")
    if kind == "nullable":
        inner = exact_types(schema["schema"])
        return None if inner is None or schema.keys() - {"metadata", "schema", "type"} else inner | {type(None)}
    if kind not in _EXACT or schema.keys() - _CONSTRAINTS:
        return None
    return frozenset({_EXACT[kind]})
