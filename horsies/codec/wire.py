"""`ResultCodec`: conversion of the results of tasks to JSON and back."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any, NamedTuple, cast, get_args, get_origin

from horsies.codec.adapters import CodecError, InvalidJson, TypeCodec, UnsupportedType
from horsies.codec.fits import without_aliases
from horsies.codec.lenient import lenient_error, lenient_json
from horsies.codec.problems import show_type, show_value
from horsies.codec.secrets import hidden_error, secret_paths
from horsies.codec.signature import function_location, resolve_annotation, unsupported
from horsies.codec.text import decode_json, encode_json
from horsies.codes import ContractCode, OperationalErrorCode
from horsies.errors import ErrorCode, SourceLocation, TaskDefinitionError
from horsies.plain import escape_surrogates, holds_iterator
from horsies.task_result import (
    TaskError,
    TaskResult,
    UndeclaredTaskError,
    added_fields,
    failed_with,
    is_library_error,
)

__all__ = ["EncodedResult", "ResultCodec", "TypeMismatch", "decode_json", "encode_json", "result_types"]


class EncodedResult(NamedTuple):
    """A result in its stored form.

    Attributes:
        is_ok: Whether ``payload`` is the value (True) or the error (False).
        payload: The value or the error as JSON.
        error_code: The code of the error; None if it has no code, and for a value.
    """

    is_ok: bool
    payload: bytes
    error_code: str | None


class TypeMismatch(CodecError):  # noqa: N818 - the name describes the problem
    """A result that does not have the declared types."""


class ResultCodec:
    """Encodes and decodes the results of one task.

    Attributes:
        secret_paths: The paths from the encoded value to the secrets in it.
        secret_error_paths: The paths from an encoded error of the declared class to the secrets in it.
    """

    def __init__(
        self, ok_type: Any, err_type: type[TaskError] = TaskError, localns: Mapping[str, Any] | None = None
    ) -> None:
        """Build the validators.

        Raises:
            UnsupportedType: One of the types cannot be represented as JSON.
        """
        self.ok_type = ok_type
        self.err_type = err_type
        self.annotation: Any = cast("Any", TaskResult)[ok_type, err_type]
        self._ok = TypeCodec(ok_type, localns)
        self._err = _error_codec(TaskError) if err_type is TaskError else TypeCodec(err_type, localns)
        self.secret_paths = secret_paths(self._ok.schema)
        self.secret_error_paths = () if err_type is TaskError else secret_paths(self._err.schema)

    @classmethod
    def of(cls, fn: Callable[..., Any], localns: Mapping[str, Any] | None = None) -> "ResultCodec":
        """Make the codec for the return annotation of a function, ``TaskResult[T, E]``.

        Args:
            fn: The function.
            localns: The local names at its definition, for an annotation that is a string.

        Raises:
            TaskDefinitionError: HRS-100: There is no annotation. HRS-101: It is not a `TaskResult`. HRS-105: One of its
                types cannot be represented as JSON.
        """
        location = function_location(fn)
        annotation = fn.__annotations__.get("return", _MISSING)
        if annotation is not _MISSING:
            annotation = resolve_annotation(fn, "return", annotation, localns)
        ok_type, err_type = result_types(annotation, fn.__name__, location)
        try:
            return cls(ok_type, err_type, localns)
        except UnsupportedType as error:
            raise unsupported(fn, "return", annotation, str(error)) from error

    def encode(self, result: TaskResult[Any, TaskError]) -> EncodedResult:
        """Encode a result. An error is encoded with all fields of its class.

        Encoding an error never fails on its content, and keeps its code: values that JSON cannot represent are written
        as pydantic converts them, or else as their ``repr``.

        Raises:
            TypeMismatch: The result does not have the declared types. The message names the expected and actual types.
            CodecError: Decoding would return a different value.
        """
        if result.is_ok():
            return EncodedResult(is_ok=True, payload=self._encode_value(result.ok), error_code=None)
        error = result.err_value
        if not isinstance(error, self.err_type) and not is_library_error(error):
            raise TypeMismatch((), f"expected an error of type {show_type(self.err_type)}, got {show_value(error)}")
        code = None if error.error_code is None else escape_surrogates(str(error.error_code))
        return EncodedResult(is_ok=False, payload=self._encode_error(error), error_code=code)

    def _encode_value(self, value: object) -> bytes:
        try:
            try:
                checked = self._ok.check(value)
            except CodecError as mismatch:
                raise TypeMismatch(mismatch.path, mismatch.message) from mismatch
            return self._ok.write(value, checked)
        except CodecError as error:
            if not self.secret_paths:
                raise
            hidden = hidden_error(error, ((),))
            raise type(error)(hidden.path, hidden.message) from None

    def _encode_error(self, error: TaskError) -> bytes:
        try:
            codec = self._err if type(error) is self.err_type else _error_codec(type(error))
        except UnsupportedType:
            return lenient_json(error)
        if not holds_iterator(error.data):
            with suppress(CodecError):
                return codec.encode(error)
        with suppress(CodecError):
            return codec.encode(lenient_error(error))
        return lenient_json(error)

    def decode(self, is_ok: bool, payload: bytes | str) -> TaskResult[Any, TaskError]:  # noqa: FBT001
        """Decode a result that `encode` wrote.

        This method never raises. Text that is not JSON gives an error with RESULT_DESERIALIZATION_ERROR, and a value
        that no longer has the declared type gives PYDANTIC_HYDRATION_ERROR.
        """
        try:
            return TaskResult(ok=self._ok.decode(payload)) if is_ok else TaskResult(err=self.decode_error(payload))
        except InvalidJson as error:
            return failed_with(OperationalErrorCode.RESULT_DESERIALIZATION_ERROR, f"the stored result is {error}")
        except CodecError as error:
            kind = "result" if is_ok else "error"
            message = f"the stored {kind} no longer fits its type: {error}"
            return failed_with(ContractCode.PYDANTIC_HYDRATION_ERROR, message)

    def decode_error(self, payload: bytes | str) -> TaskError:
        """Decode an error of the declared class, or an error made by horsies.

        Raises:
            InvalidJson: The payload is not JSON.
            CodecError: The error does not have the declared type.
        """
        try:
            error: TaskError = self._err.decode(payload)
        except InvalidJson:
            raise
        except CodecError:
            # Errors made by horsies, for example after a crash, lack fields that a declared class may require.
            built_in = _built_in_error(payload)
            if built_in is None:
                raise
            return built_in
        if self.err_type is UndeclaredTaskError and not added_fields(error):
            return _error_codec(TaskError).decode(payload)
        return error


_MISSING = object()


@lru_cache(maxsize=256)
def _error_codec(kind: type[TaskError]) -> TypeCodec:
    return TypeCodec(kind)


def _built_in_error(payload: bytes | str) -> TaskError | None:
    try:
        error: TaskError = _error_codec(TaskError).decode(payload)
    except CodecError:
        return None
    return error if is_library_error(error) else None


def result_types(
    annotation: Any, name: str = "the function", location: SourceLocation | None = None
) -> tuple[Any, type[TaskError]]:
    """Return the types ``T`` and ``E`` of an annotation ``TaskResult[T, E]``.

    Raises:
        TaskDefinitionError: HRS-100: There is no annotation. HRS-101: It is not a `TaskResult`.
    """
    help_text = "declare -> TaskResult[T, TaskError], where T is the type of the value"
    if annotation is _MISSING:
        message = f"{name}() has no return annotation"
        raise TaskDefinitionError(ErrorCode.TASK_NO_RETURN_TYPE, message, location=location, help_text=help_text)
    plain = without_aliases(annotation)
    if get_origin(plain) is TaskResult:
        ok_type, err_type = get_args(plain)
        if isinstance(err_type, type) and issubclass(err_type, TaskError):
            return ok_type, err_type
        help_text = "use TaskError or a subclass of it as E"
    message = f"{name}() is annotated to return {show_type(annotation)}, which is not a TaskResult[T, E]"
    raise TaskDefinitionError(ErrorCode.TASK_INVALID_RETURN_TYPE, message, location=location, help_text=help_text)
