"""The base class of all settings: frozen models whose constructor reports all problems at once, at the user's line."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from horsies.errors import ConfigurationError, ErrorCode, HorsiesError, caller_location, flatten, raise_all
from horsies.masking import mask_secrets
from horsies.predecessor import REMOVED_SETTINGS
from horsies.suggestions import similar_name, suggest

_KINDS: Mapping[object, str] = {int: "a whole number", float: "a number", bool: "True or False", str: "a string"}
_LONGEST_VALUE = 60


@dataclass(frozen=True, slots=True)
class Contradiction:
    """An invalid combination of settings, each of which is valid alone.

    Attributes:
        fields: The names of the fields that are in conflict.
        error: The error to report.
    """

    fields: frozenset[str]
    error: HorsiesError

    @classmethod
    def of(cls, code: ErrorCode, message: str, help_text: str, *fields: str) -> "Contradiction":
        """Make a contradiction between ``fields``, reported as a `ConfigurationError` with this code and message."""
        return cls(frozenset(fields), ConfigurationError(code, message, help_text=help_text))


class Settings(BaseModel):
    """Frozen settings that reject unknown fields.

    The constructor takes the fields by keyword. It raises `ConfigurationError` for one problem and
    `MultipleValidationErrors` for several; both are `ValueError`s.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    default_code: ClassVar[ErrorCode]
    codes: ClassVar[Mapping[str, ErrorCode]] = {}

    def __init__(self, /, **data: Any) -> None:
        problems = flatten(self._validate_fields(data))
        location = caller_location() if problems else None
        for problem in problems:
            problem.location = problem.location or location
        raise_all(problems)

    def contradictions(self) -> Iterable[Contradiction]:
        """Return the conflicts between valid fields. Subclasses override this; by default there are none."""
        return ()

    def _validate_fields(self, data: dict[str, Any]) -> list[HorsiesError]:
        try:
            super().__init__(**data)
        except ValidationError as failure:
            details = failure.errors(include_url=False)
        else:
            return [found.error for found in self.contradictions()]
        wrong = frozenset(str(detail["loc"][0]) for detail in details)
        return [_problem(type(self), detail) for detail in details] + self._contradictions_beside(wrong, data)

    def _contradictions_beside(self, wrong: frozenset[str], data: dict[str, Any]) -> list[HorsiesError]:
        """Return the conflicts among the fields that are valid by themselves."""
        try:
            super().__init__(**{name: value for name, value in data.items() if name not in wrong})
        except ValidationError:  # one of the wrong fields is required
            return []
        return [found.error for found in self.contradictions() if not found.fields & wrong]

    @classmethod
    def code_of(cls, field: str) -> ErrorCode:
        """Return the error code for problems with a field."""
        return cls.codes.get(field, cls.default_code)


def _problem(model: type[Settings], detail: ErrorDetails) -> HorsiesError:
    cause = detail.get("ctx", {}).get("error")
    if isinstance(cause, HorsiesError):  # from a validator, or from a nested model given as a dict
        return cause
    name = str(detail["loc"][0])
    if detail["type"] == "extra_forbidden":
        return _unknown_field(model, name)
    field = _fields(model)[name]
    if detail["type"] == "missing":
        message = f"{model.__name__} is missing the required field {name}"
        return ConfigurationError(model.code_of(name), message, help_text=f"pass {name}=, {_expected(field)}")
    path = f"{model.__name__}.{name}" + "".join(f"[{step}]" for step in detail["loc"][1:])
    expected = _expected(field, item=len(detail["loc"]) > 1)
    message = f"{path} must be {expected}, got {show_value(detail['input'])}"
    return ConfigurationError(model.code_of(name), message, help_text=_default_help(field))


def _fields(model: type[Settings]) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _unknown_field(model: type[Settings], name: str) -> ConfigurationError:
    removed = REMOVED_SETTINGS.get(model.__name__, {}).get(name)
    if removed is not None:
        message = f"{model.__name__}.{name} of the horsies packages 0.x was removed"
        return ConfigurationError(model.code_of(name), message, help_text=removed)
    known = sorted(_fields(model))
    similar = similar_name(name, known)
    help_text = suggest(name, known) or f"the available fields are {', '.join(known)}"
    code = model.default_code if similar is None else model.code_of(similar)
    return ConfigurationError(code, f"{model.__name__} has no field {name!r}", help_text=help_text)


def _expected(field: FieldInfo, *, item: bool = False) -> str:
    """Describe the values that a field accepts: ``a whole number from 1 to 100, or None``."""
    kinds = _kinds(field.annotation)
    if item:
        return next(kind.removeprefix("a list of ") for kind in kinds)
    kinds[0] += _range(field)
    return ", or ".join(kinds)


def _kinds(annotation: object) -> list[str]:
    members = get_args(annotation) if get_origin(annotation) in {UnionType, Union} else (annotation,)
    kinds = [_kind(member) for member in members if member is not NoneType]
    return [*kinds, "None"] if NoneType in members else kinds


def _kind(annotation: object) -> str:
    if get_origin(annotation) is Sequence:
        return f"a list of {_kind(get_args(annotation)[0])}"
    if get_origin(annotation) is Literal:
        return " or ".join(f'"{choice}"' for choice in get_args(annotation))
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return " or ".join(map(str, annotation))
    name = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    return _KINDS.get(annotation, f"a {name}")


def _range(field: FieldInfo) -> str:
    low = next((bound.ge for bound in field.metadata if isinstance(bound, Ge)), None)
    high = next((bound.le for bound in field.metadata if isinstance(bound, Le)), None)
    above = next((bound.gt for bound in field.metadata if isinstance(bound, Gt)), None)
    if above is not None:
        return f" above {above}"
    if low is None:
        return ""
    return f" of at least {low:,}" if high is None else f" from {low:,} to {high:,}"


def _default_help(field: FieldInfo) -> str | None:
    if field.is_required():
        return None
    default = field.get_default(call_default_factory=False)
    return "omit it to use the default" + ("" if field.default_factory else f", {show_value(default)}")


def show_value(value: object) -> str:
    """Format the value of a setting for messages and logs: shortened, with passwords masked."""
    if isinstance(value, Enum):
        return f"{type(value).__name__}.{value.name}"
    if isinstance(value, str | int | float | NoneType):
        text = mask_secrets(repr(value))
        return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"
    return f"a {type(value).__name__}" if not isinstance(value, type) else f"the class {value.__name__}"
