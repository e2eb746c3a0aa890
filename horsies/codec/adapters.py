"""`TypeCodec`: conversion of values of one annotation to JSON and back."""

import inspect
from collections.abc import Mapping
from enum import Enum, auto
from typing import Any, Final, cast

from pydantic import TypeAdapter, ValidationError
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import SchemaError, SchemaSerializer, SchemaValidator, core_schema

from horsies.codec.compare import Difference, difference
from horsies.codec.portable import Portable, Schema, exact_types
from horsies.codec.problems import CodecError, InvalidJson, Path, UnsupportedType, explain, show_type, show_value
from horsies.codec.text import encode_json

__all__ = ["CodecError", "Defaults", "InvalidJson", "TypeCodec", "UnsupportedType"]

# A model has a prebuilt validator, in which bytes are not base64. This switch makes pydantic build a new one.
_OWN: Final[dict[str, Any]] = (
    {"_use_prebuilt": False} if "_use_prebuilt" in inspect.signature(SchemaValidator).parameters else {}
)
_ALWAYS_EXACT_BYTES = 4096  # below pydantic's limit of 4300 digits for an integer


class Defaults(Enum):
    """Whether a JSON Schema contains the defaults of fields."""

    SHOWN = auto()
    OMITTED = auto()


class _WithoutDefaults(GenerateJsonSchema):
    def default_schema(self, schema: core_schema.WithDefaultSchema) -> dict[str, Any]:
        return self.generate_inner(schema["schema"])


class TypeCodec:
    """Checks, encodes and decodes values of one annotation.

    A value is encoded only if it passes a strict check, and if decoding would return the same value.
    """

    def __init__(self, annotation: Any, localns: Mapping[str, Any] | None = None) -> None:
        """Build the validators. This takes milliseconds, so do it once per annotation.

        Args:
            annotation: Any supported type: JSON types, dates, enums, dataclasses, pydantic models and the like.
            localns: Names that string annotations inside it may use, in addition to those of their modules.

        Raises:
            UnsupportedType: The type cannot be represented as JSON, or it contains an unknown name.
        """
        self.annotation = annotation
        self.expected: dict[Path, Any] = {(): annotation}
        self.schema = _core_schema(annotation, localns)
        portable = Portable(self.schema)
        self._validator, self._serializer = _built(portable)
        self._transforms = portable.transforms
        self._reads_python = portable.reads_python
        self._exact = exact_types(self.schema)

    def check(self, value: Any) -> Any:
        """Check by pydantic's strict Python rules that a value has the declared type.

        Returns:
            The value, as changed by the custom validators of the annotation.

        Raises:
            CodecError: The value does not have the declared type.
        """
        checked = self._validated(value)
        if not self.is_exact(value):
            self._confirm(value, checked)
        return checked

    def encode(self, value: Any) -> bytes:
        """Encode a value as JSON.

        Raises:
            CodecError: The value does not have the declared type, or decoding would return a different value.
        """
        return self.write(value, self.check(value))

    def write(self, value: Any, checked: Any) -> bytes:
        """Encode a value as JSON, given the result of `check`.

        Raises:
            CodecError: Decoding would return a different value.
        """
        if self.is_exact(value):
            data = encode_json(checked)
            if len(data) <= _ALWAYS_EXACT_BYTES:
                return data
        data = encode_json(self._plain(checked))
        self._verify(checked, data)
        return data

    def decode(self, data: bytes | str) -> Any:
        """Decode a value by pydantic's strict JSON rules.

        Raises:
            InvalidJson: The data is not JSON.
            CodecError: The value does not have the declared type.
        """
        try:
            return self._read(data)
        except ValidationError as error:
            raise explain(error, self.expected) from error
        except Exception as error:
            raise CodecError((), f"a validator raised {_reason(error)}") from error

    def json_schema(self, defaults: Defaults = Defaults.SHOWN) -> dict[str, Any]:
        """Return a JSON Schema of the encoded values.

        Raises:
            UnsupportedType: A part has no JSON Schema.
        """
        generator = (GenerateJsonSchema if defaults is Defaults.SHOWN else _WithoutDefaults)(by_alias=False)
        generator.ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}
        try:
            return generator.generate(cast("Any", Portable(self.schema).schema))
        except Exception as error:  # custom types may raise any exception
            msg = f"{show_type(self.annotation)} has no JSON Schema: {_reason(error)}"
            raise UnsupportedType(msg) from error

    def json_schema_or_any(self, defaults: Defaults = Defaults.SHOWN) -> dict[str, Any]:
        """Return a JSON Schema without definitions of other schemas; if there is none, one that allows any value."""
        try:
            found = self.json_schema(defaults)
        except UnsupportedType:
            return {}
        return {} if "$defs" in found else found

    def is_exact(self, value: Any) -> bool:
        """Whether decoding certainly returns the same value, so that this need not be verified."""
        return self._exact is not None and type(value) in self._exact

    def _validated(self, value: Any) -> Any:
        try:
            return self._validator.validate_python(value, strict=True, by_alias=False, by_name=True)
        except ValidationError as error:
            raise explain(error, self.expected, value) from error
        except Exception as error:
            raise CodecError((), f"a validator raised {_reason(error)}") from error

    def _confirm(self, value: Any, checked: Any) -> None:
        """Reject a value that validation converts: pydantic turns a dict into a model even in strict mode."""
        if not self._transforms:
            self._compare(value, checked)

    def _compare(self, value: Any, checked: Any) -> None:
        found = _compared(value, checked)
        if found is not None:
            raise CodecError(found.path, f"expected {type(found.back).__qualname__}, got {show_value(found.sent)}")

    def _read(self, data: bytes | str) -> Any:
        try:
            return self._validator.validate_json(data, strict=True, by_alias=False, by_name=True)
        except ValidationError:
            if not self._reads_python:
                raise
            # After such a validator, pydantic applies strict Python rules, which do not accept a string as a date.
            return self._validator.validate_json(data, strict=False, by_alias=False, by_name=True)

    def _plain(self, checked: Any) -> Any:
        try:
            return self._serializer.to_python(checked, mode="json", by_alias=False, round_trip=True, warnings="error")
        except Exception as error:
            message = f"{show_type(self.annotation)} cannot be written as JSON: {_reason(error)}"
            raise CodecError((), message) from error

    def _verify(self, checked: Any, data: bytes) -> None:
        try:
            back = self._read(data)
        except ValidationError as error:
            found = explain(error, self.expected)
            raise CodecError(found.path, f"cannot be read back from JSON: {found.message}") from error
        except Exception as error:
            raise CodecError((), f"cannot be read back from JSON: {_reason(error)}") from error
        changed = _compared(checked, back)
        if changed is not None:
            message = f"{show_value(changed.sent)} would be read back from JSON as {show_value(changed.back)}"
            raise CodecError(changed.path, message)


def _compared(value: Any, other: Any) -> Difference | None:
    try:
        return difference(value, other)
    except Exception as error:
        raise CodecError((), f"{show_value(value)} cannot be compared: {_reason(error)}") from error


def _core_schema(annotation: Any, localns: Mapping[str, Any] | None) -> Schema:
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(annotation)
        if not adapter.pydantic_complete:
            adapter.rebuild(raise_errors=True, _types_namespace=dict(localns or {}))
        return cast("Schema", adapter.core_schema)
    except Exception as error:
        reason = str(error).partition("\n")[0].partition(". Set `")[0]
        msg = f"{show_type(annotation)} cannot be represented as JSON: {reason}"
        raise UnsupportedType(msg) from error


def _built(portable: Portable) -> tuple[SchemaValidator, SchemaSerializer]:
    own = _OWN if portable.changed else {}
    schema = cast("Any", portable.schema)
    try:
        return SchemaValidator(schema, **own), SchemaSerializer(schema, **own)
    except SchemaError as error:
        raise UnsupportedType(str(error)) from error


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeEncodeError):
        return "it holds a lone surrogate, which is not valid Unicode text"
    return f"{type(error).__name__}: {error}"
