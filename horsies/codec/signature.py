"""`SignatureCodec`: the arguments of a call to JSON and back."""

import inspect
from collections.abc import Callable, Mapping
from inspect import Parameter
from types import SimpleNamespace
from typing import Any, NotRequired, TypedDict, cast, get_type_hints

from horsies.codec.adapters import CodecError, TypeCodec, UnsupportedType
from horsies.codec.portable import Schema, exact_types
from horsies.codec.problems import show_type
from horsies.errors import ErrorCode, SourceLocation, TaskDefinitionError, frame_location

_MISSING = Parameter.empty


def function_location(fn: Callable[..., object]) -> SourceLocation:
    """Say where a function is defined: the line of its first decorator, or of its ``def``."""
    code = inspect.unwrap(fn).__code__
    return frame_location(code.co_filename, code.co_firstlineno)


def resolve_annotation(fn: Callable[..., Any], name: str, annotation: Any, localns: Mapping[str, Any] | None) -> Any:
    """Turn an annotation, which may be a string or hold one, into the type it names.

    Args:
        fn: the function it belongs to.
        name: the parameter, or "return".
        annotation: what stands there.
        localns: the names of the scope that defines the function, if that is not the module itself.

    Raises:
        TaskDefinitionError: HRS-105, a name in it is unknown.
    """
    holder = SimpleNamespace(__annotations__={name: annotation})
    scope = {parameter.__name__: parameter for parameter in fn.__type_params__} | dict(localns or {})
    try:
        return get_type_hints(holder, fn.__globals__, scope, include_extras=True)[name]
    except Exception as error:
        wrong = unsupported(fn, name, annotation, f"{type(error).__name__}: {error}")
        wrong.help_text = "define or import what it names before the task, in the same scope or at the top of the file"
        raise wrong from error


def unsupported(fn: Callable[..., object], name: str, annotation: Any, reason: str) -> TaskDefinitionError:
    """Make the HRS-105 of a parameter, or of the result if ``name`` is "return"."""
    where = "the result" if name == "return" else f"parameter {name!r}"
    return TaskDefinitionError(
        ErrorCode.TASK_UNSUPPORTED_TYPE,
        f"{where} of {fn.__name__}() has the annotation {show_type(annotation)}, which can't be carried",
        location=function_location(fn),
        notes=[reason],
        help_text="use data: JSON types, dates, enums, dataclasses, pydantic models and the like",
    )


class SignatureCodec:
    """Encodes the arguments of one function as a JSON object by parameter name.

    Only arguments that are passed are stored: a default is taken from the code that runs the task.

    Attributes:
        name: of the function.
        parameters: the function's parameters by name, with resolved annotations; `Any` where there is none.
        required: the names of those without a default.
    """

    def __init__(self, fn: Callable[..., Any], localns: Mapping[str, Any] | None = None, *, skip: int = 0) -> None:
        """Read the signature.

        Args:
            fn: the function.
            localns: the local names at its definition, for annotations given as strings.
            skip: so many of its first parameters are no arguments of the call.

        Raises:
            TaskDefinitionError: HRS-105, a parameter can't be carried.
        """
        self.name = fn.__name__
        self.parameters = _parameters(fn, localns, skip)
        self._codec = _CallCodec(fn, self.parameters, localns)
        self._localns = localns
        self._alone: dict[str, TypeCodec] = {}
        kinds = {name: parameter.kind for name, parameter in self.parameters.items()}
        self._positional = [name for name, kind in kinds.items() if kind is not Parameter.KEYWORD_ONLY]
        self._positional_only = [name for name, kind in kinds.items() if kind is Parameter.POSITIONAL_ONLY]
        self._by_keyword = kinds.keys() - self._positional_only
        self.required = frozenset(name for name, each in self.parameters.items() if each.default is _MISSING)

    def encode_call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
        """Write the arguments of a call.

        Raises:
            CodecError: they do not bind or do not fit; `CodecError.parameter` says which.
        """
        return self._codec.encode(self._bind(args, kwargs))

    def encode_argument(self, name: str, value: Any) -> bytes:
        """Write one argument alone, for a call whose other arguments are not known yet.

        Raises:
            CodecError: it does not fit; the path begins with the parameter.
        """
        codec = self._alone.get(name)
        if codec is None:
            codec = self._alone[name] = TypeCodec(self.parameters[name].annotation, self._localns)
        try:
            return codec.encode(value)
        except CodecError as error:
            raise CodecError((name, *error.path), error.message) from error

    def decode_call(self, data: bytes | str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Read positional and keyword arguments.

        Raises:
            CodecError: they do not fit the signature; `CodecError.parameter` says which.
        """
        call: dict[str, Any] = self._codec.decode(data)
        if not self._positional_only:
            return (), call
        return tuple(call.pop(name) for name in self._positional_only if name in call), call

    def _bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        if len(args) > len(self._positional):
            raise self._unbound(None, f"takes {len(self._positional)} positional arguments, got {len(args)}")
        call = dict(zip(self._positional, args, strict=False))
        if kwargs:
            self._check_keywords(call, kwargs)
            named = {**call, **kwargs}
            call = {name: named[name] for name in self.parameters if name in named}
        missing = self.required - call.keys()
        if missing:
            first = next(name for name in self.parameters if name in missing)
            raise self._unbound(first, f"is missing the argument {first!r}")
        return call

    def _check_keywords(self, call: Mapping[str, Any], kwargs: Mapping[str, Any]) -> None:
        for name in kwargs:
            if name in self._positional_only:
                raise self._unbound(name, f"takes the argument {name!r} by position only")
            if name not in self._by_keyword:
                raise self._unbound(name, f"got an unexpected argument {name!r}")
            if name in call:
                raise self._unbound(name, f"got multiple values for the argument {name!r}")

    def _unbound(self, name: str | None, problem: str) -> CodecError:
        return BindingError(() if name is None else (name,), f"{self.name}() {problem}")


class BindingError(CodecError):
    """Arguments that a call of the function itself would refuse, too."""

    def __str__(self) -> str:
        """Give the message alone: it names the function and the parameter."""
        return self.message


class _CallCodec(TypeCodec):
    """The arguments as one typed dict: a single validation for all of them."""

    def __init__(
        self, fn: Callable[..., Any], parameters: Mapping[str, Parameter], localns: Mapping[str, Any] | None
    ) -> None:
        try:
            super().__init__(_typed_dict(fn.__name__, parameters), localns)
        except Exception as error:
            raise _blame(fn, parameters, localns, error) from error
        self._localns = localns
        self.expected = {(name,): parameter.annotation for name, parameter in parameters.items()}
        fields: Schema = self.schema.get("fields", {})
        exact = {name: exact_types(field["schema"]) for name, field in fields.items()}
        self._exact_by_name = {name: kinds for name, kinds in exact.items() if kinds is not None}

    def encode(self, value: Any) -> bytes:
        try:
            return super().encode(value)
        except CodecError as error:
            raise error if error.path else self._of_one(value, error) from error

    def _of_one(self, call: dict[str, Any], error: CodecError) -> CodecError:
        """Find the argument that an error about the whole call is due to."""
        for path, annotation in self.expected.items():
            if path[0] in call:
                try:
                    TypeCodec(annotation, self._localns).encode(call[path[0]])
                except CodecError as found:
                    return CodecError((*path, *found.path), found.message)
        return error

    def is_exact(self, value: Any) -> bool:
        exact = self._exact_by_name
        return all(name in exact and type(argument) in exact[name] for name, argument in value.items())

    def _confirm(self, value: Any, checked: Any) -> None:
        if self._transforms:  # one parameter has validators: those of plain types still have nothing to change
            value, checked = (
                {name: call[name] for name in self._exact_by_name if name in call} for call in (value, checked)
            )
        self._compare(value, checked)


def _parameters(fn: Callable[..., Any], localns: Mapping[str, Any] | None, skip: int) -> dict[str, Parameter]:
    parameters: dict[str, Parameter] = {}
    for name, parameter in list(inspect.signature(fn).parameters.items())[skip:]:
        if parameter.kind in {Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD}:
            raise TaskDefinitionError(
                ErrorCode.TASK_UNSUPPORTED_TYPE,
                f"{fn.__name__}() takes {parameter}: a task's parameters are fixed and named",
                location=function_location(fn),
                help_text="declare a parameter that is a list or a dict",
            )
        given = parameter.annotation
        hint = Any if given is _MISSING else resolve_annotation(fn, name, given, localns)
        parameters[name] = parameter.replace(annotation=hint)
    return parameters


def _typed_dict(name: str, parameters: Mapping[str, Parameter]) -> Any:
    hints = {
        parameter: details.annotation if details.default is _MISSING else NotRequired[details.annotation]
        for parameter, details in parameters.items()
    }
    call = cast("Any", TypedDict)(name, hints)
    call.__pydantic_config__ = {"extra": "forbid"}
    return call


def _blame(
    fn: Callable[..., Any],
    parameters: Mapping[str, Parameter],
    localns: Mapping[str, Any] | None,
    error: Exception,
) -> TaskDefinitionError:
    """Find the parameter for which no schema can be built."""
    for name, parameter in parameters.items():
        try:
            TypeCodec(parameter.annotation, localns)
        except UnsupportedType as own_error:
            return unsupported(fn, name, parameter.annotation, str(own_error))
    message = f"the parameters of {fn.__name__}() can't be carried together"
    location = function_location(fn)
    return TaskDefinitionError(ErrorCode.TASK_UNSUPPORTED_TYPE, message, location=location, notes=[str(error)])
