"""`TaskResult` and `TaskError`: the outcome that a task returns."""

import json
import traceback
from dataclasses import FrozenInstanceError
from enum import Enum
from typing import Annotated, Any, Never, cast, final, get_args, overload

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from horsies.codes import (
    BUILT_IN_CODES,
    BuiltInTaskCode,
    ContractCode,
    OperationalErrorCode,
    OutcomeCode,
    RetrievalCode,
)
from horsies.errors import users_frames
from horsies.plain import escape_surrogates, plain_data
from horsies.postponement import AttemptPostponed

_FAMILIES = (OperationalErrorCode, ContractCode, RetrievalCode, OutcomeCode)


def describe_exception(exception: BaseException) -> dict[str, str]:
    """Describe an exception as ``type``, ``message`` and ``traceback``, all plain text."""
    kind = type(exception)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    try:
        message = str(exception)
    except BaseException as broken:  # noqa: BLE001 - a broken __str__ must not hide the exception it belongs to
        message = f"<__str__ raised {type(broken).__name__}>"
    lines = traceback.format_exception(kind, exception, users_frames(exception.__traceback__))
    return {"type": name, "message": escape_surrogates(message), "traceback": escape_surrogates("".join(lines))}


def _own_code(value: object) -> BuiltInTaskCode | str | None:
    if value is None or isinstance(value, _FAMILIES):
        return value
    if isinstance(value, Enum):
        msg = f"{value} would be read back as a string: pass its value, or a member of the code enums of horsies"
        raise ValueError(msg)  # noqa: TRY004 - pydantic turns only ValueError into a validation error
    if not isinstance(value, str):
        msg = f"error_code must be a string or a member of the code enums of horsies, got {type(value).__name__}"
        raise ValueError(msg)  # noqa: TRY004
    if value in BUILT_IN_CODES:
        msg = f"{value!r} is a reserved code: pass {type(BUILT_IN_CODES[value]).__name__}.{value} instead of the string"
        raise ValueError(msg)
    return str(value)


def _stored_code(text: str) -> BuiltInTaskCode | str:
    return BUILT_IN_CODES.get(text, text)


class _CodeField:
    """Validation of ``error_code``: reserved strings are rejected in Python, and become enum members in JSON."""

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, _handler: GetCoreSchemaHandler) -> CoreSchema:
        stored = core_schema.no_info_after_validator_function(_stored_code, core_schema.str_schema())
        return core_schema.json_or_python_schema(
            json_schema=core_schema.nullable_schema(stored),
            python_schema=core_schema.no_info_plain_validator_function(_own_code),
            serialization=core_schema.plain_serializer_function_ser_schema(_code_text, when_used="json"),
        )


def _code_text(code: object) -> str | None:
    return None if code is None else str(code)


def _described(value: object) -> object:
    return describe_exception(value) if isinstance(value, BaseException) else value


class _ExceptionField:
    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, _handler: GetCoreSchemaHandler) -> CoreSchema:
        record = core_schema.nullable_schema(
            core_schema.dict_schema(core_schema.str_schema(), core_schema.any_schema())
        )
        return core_schema.json_or_python_schema(
            json_schema=record,
            python_schema=core_schema.no_info_before_validator_function(_described, record),
        )


class TaskError(BaseModel):
    """The reason why a task failed. Subclasses may add fields; they are immutable like this class.

    Attributes:
        error_code: A member of one of the code enums of horsies, or a custom string.
        message: A description for people.
        data: Details for programs. They are stored as JSON in the form that pydantic writes (a `datetime` as a string,
            a model as an object, a set as a list), and are read back as plain data. A value that pydantic cannot write
            is replaced by its ``repr``, and ``message`` notes that. ``{"retry_after": seconds}`` overrides the delay
            of a retry, up to 30 days; any other value is ignored, and ``message`` notes that.
        exception: The exception that caused the error. It is stored as a dict of ``type``, ``message`` and
            ``traceback``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    error_code: Annotated[BuiltInTaskCode | str | None, _CodeField] = None
    message: str | None = None
    data: Any | None = None
    exception: Annotated[dict[str, Any] | BaseException | None, _ExceptionField] = None

    def to_json(self) -> bytes:
        """Encode the error as JSON; values that JSON cannot represent are replaced by text. Never fails.

        Errors that tasks return are encoded by `ResultCodec` instead, which first tries to follow their annotations.
        """
        fields = {name: plain_data(value).value for name, value in self}
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()


class UndeclaredTaskError(TaskError):
    """An error of a task that this program does not know: fields that a subclass added are kept as plain data."""

    model_config = ConfigDict(extra="allow")


class _Absent(Enum):
    ABSENT = "absent"


_ABSENT = _Absent.ABSENT


@final
class TaskResult[T, E: TaskError = TaskError]:
    """The outcome of a task: a value, or an error. Immutable; hashable if its content is."""

    __slots__ = ("_err", "_ok")

    _ok: T | _Absent
    _err: E | None

    @overload
    def __init__(self, *, ok: T) -> None: ...

    @overload
    def __init__[F: TaskError](self: "TaskResult[Never, F]", *, err: F) -> None: ...

    @overload
    def __init__(self: "TaskResult[Never, Never]", *, err: AttemptPostponed) -> None: ...

    def __init__(self, *, ok: Any = _ABSENT, err: Any = None) -> None:
        """Make a result with exactly one of ``ok`` (``None`` is a valid value) and ``err``.

        A `RateLimited` or `Snooze` fits every task. It becomes a `TaskError` with its code.

        Raises:
            ValueError: Both or neither are given.
            TypeError: ``err`` is not a `TaskError`.
        """
        if (ok is _ABSENT) == (err is None):
            msg = f"TaskResult takes exactly one of ok= and err=, got {'neither' if err is None else 'both'}"
            raise ValueError(msg)
        if isinstance(err, AttemptPostponed):
            err = answer_error(err)
        if err is not None and not isinstance(err, TaskError):
            msg = f"err= must be a TaskError, got {type(err).__name__}"
            raise TypeError(msg)
        object.__setattr__(self, "_ok", ok)
        object.__setattr__(self, "_err", err)

    def is_ok(self) -> bool:
        """Whether the task succeeded."""
        return self._err is None

    def is_err(self) -> bool:
        """Whether the task failed."""
        return self._err is not None

    @property
    def ok(self) -> T | None:
        """The value; None if the task failed."""
        return None if self._ok is _ABSENT else self._ok

    @property
    def err(self) -> E | None:
        """The error; None if the task succeeded."""
        return self._err

    @property
    def ok_value(self) -> T:
        """The value.

        Raises:
            ValueError: The task failed.
        """
        return self.unwrap()

    @property
    def err_value(self) -> E:
        """The error.

        Raises:
            ValueError: The task succeeded.
        """
        return self.unwrap_err()

    def unwrap(self) -> T:
        """Return the value.

        Raises:
            ValueError: The task failed. The text shows the code and the message of the error. If the task raised an
                exception, a note shows its traceback in the worker.
        """
        if self._ok is _ABSENT:
            error = cast("TaskError", self._err)
            failure = ValueError(f"the task failed, so it has no value: {error.error_code}: {error.message}")
            if isinstance(error.exception, dict) and "traceback" in error.exception:
                failure.add_note(f"The exception in the task:\n{error.exception['traceback']}")
            raise failure
        return self._ok

    def unwrap_err(self) -> E:
        """Return the error.

        Raises:
            ValueError: The task succeeded.
        """
        if self._err is None:
            msg = "the task succeeded, so it has no error"
            raise ValueError(msg)
        return self._err

    def __setattr__(self, name: str, value: object) -> Never:
        """Raise `FrozenInstanceError`, because a result is immutable."""
        msg = f"cannot set {name!r}: a TaskResult is immutable"
        raise FrozenInstanceError(msg)

    def __delattr__(self, name: str) -> Never:
        """Raise `FrozenInstanceError`, because a result is immutable."""
        msg = f"cannot delete {name!r}: a TaskResult is immutable"
        raise FrozenInstanceError(msg)

    def __eq__(self, other: object) -> bool:
        """Compare two results: both must be successes with equal values, or failures with equal errors."""
        if not isinstance(other, TaskResult):
            return NotImplemented
        return result_parts(self) == result_parts(cast("TaskResult[object]", other))

    def __hash__(self) -> int:
        """Hash the value or the error; unhashable content raises TypeError."""
        return hash((self._ok, self._err))

    def __repr__(self) -> str:
        """Show an expression that makes an equal result."""
        [(side, content)] = result_parts(self).items()
        return f"TaskResult({side}={content!r})"

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle the result by its value or error."""
        return _from_parts, (result_parts(self),)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return the schema of a result, which in JSON is ``{"ok": value}`` or ``{"err": error}``."""
        ok_type, err_type = get_args(source) or (Any, TaskError)
        sides = {
            "ok": core_schema.typed_dict_field(handler.generate_schema(ok_type), required=False),
            "err": core_schema.typed_dict_field(_error_schema(err_type, handler), required=False),
        }
        parts = core_schema.typed_dict_schema(sides, extra_behavior="forbid")
        result = core_schema.no_info_after_validator_function(_from_parts, parts)
        return core_schema.json_or_python_schema(
            json_schema=result,
            python_schema=core_schema.no_info_before_validator_function(_checked_parts, result),
            serialization=core_schema.plain_serializer_function_ser_schema(result_parts, return_schema=parts),
        )


def added_fields(error: TaskError) -> dict[str, object]:
    """The fields that a subclass of `TaskError` added, by name."""
    return {name: value for name, value in error if name not in TaskError.model_fields}


def is_library_error(error: TaskError) -> bool:
    """Whether horsies made the error, for example after a crash. Such errors lack the fields of subclasses."""
    return type(error) is TaskError and isinstance(error.error_code, _FAMILIES)


def _error_schema(err_type: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
    """Return the schema of the error class that a task declares; it also accepts errors made by horsies."""
    declared = handler.generate_schema(err_type)
    if err_type is TaskError or not (isinstance(err_type, type) and issubclass(err_type, TaskError)):
        return declared
    library = core_schema.no_info_after_validator_function(_library_error, handler.generate_schema(TaskError))
    return core_schema.union_schema([(declared, err_type.__name__), (library, "TaskError")], mode="left_to_right")


def _library_error(error: TaskError) -> TaskError:
    if not is_library_error(error):
        msg = "only an error with a reserved code may be a plain TaskError here"
        raise ValueError(msg)
    return error


def failed_with(code: BuiltInTaskCode, message: str) -> TaskResult[Any, TaskError]:
    """Return a failed result with one of the reserved codes of horsies."""
    return TaskResult(err=TaskError(error_code=code, message=message))


def answer_error(answer: AttemptPostponed) -> TaskError:
    """Return a `RateLimited` or `Snooze` as an error."""
    return TaskError(error_code=answer.code, message=answer.message, data=answer.data)


def with_answer(returned: object) -> object:
    """Return what a function returned; a `RateLimited` or `Snooze` without a `TaskResult` gets one."""
    return TaskResult(err=returned) if isinstance(returned, AttemptPostponed) else returned


def result_parts(result: TaskResult[Any, TaskError]) -> dict[str, object]:
    """Return the content of a result by its side: ``{"ok": value}`` or ``{"err": error}``."""
    return {"ok": result.ok} if result.is_ok() else {"err": result.err}


def _from_parts(parts: dict[str, Any]) -> TaskResult[Any, TaskError]:
    return TaskResult(**parts)


def _checked_parts(value: object) -> dict[str, object]:
    if not isinstance(value, TaskResult):
        msg = f"expected a TaskResult, got {type(value).__name__}"
        raise ValueError(msg)  # noqa: TRY004 - pydantic turns only ValueError into a validation error
    return result_parts(cast("TaskResult[Any, TaskError]", value))
