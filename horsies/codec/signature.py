"""`SignatureCodec`: conversion of the arguments of a call to JSON and back."""

import inspect
from collections.abc import Callable, Container, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from enum import Enum, auto
from inspect import Parameter
from types import SimpleNamespace
from typing import Any, NotRequired, Required, TypedDict, Unpack, cast, get_args, get_origin, get_type_hints

from horsies.codec.adapters import CodecError, Defaults, InvalidJson, TypeCodec, UnsupportedType
from horsies.codec.portable import Schema, exact_types
from horsies.codec.problems import show_type
from horsies.codec.secrets import SecretPath, has_place, hidden_error, redact, seal_at, secret_paths
from horsies.codec.text import decode_json, encode_json
from horsies.errors import ErrorCode, SourceLocation, TaskDefinitionError, frame_location

_MISSING = Parameter.empty
_VARIADIC = frozenset({Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD})


def function_location(fn: Callable[..., object]) -> SourceLocation:
    """Return where a function is defined: the line of its first decorator, or of its ``def``."""
    code = inspect.unwrap(fn).__code__
    return frame_location(code.co_filename, code.co_firstlineno)


def resolve_annotation(fn: Callable[..., Any], name: str, annotation: Any, localns: Mapping[str, Any] | None) -> Any:
    """Resolve an annotation that may be or contain a string to a type.

    Args:
        fn: The function that has the annotation.
        name: The name of the parameter, or "return".
        annotation: The annotation in the source.
        localns: The local names of the scope that defines the function, if that is not the module itself.

    Raises:
        TaskDefinitionError: HRS-105: The annotation contains an unknown name.
    """
    holder = SimpleNamespace(__annotations__={name: annotation})
    scope = {parameter.__name__: parameter for parameter in fn.__type_params__} | dict(localns or {})
    try:
        return get_type_hints(holder, fn.__globals__, scope, include_extras=True)[name]
    except Exception as error:
        wrong = unsupported(fn, name, annotation, f"{type(error).__name__}: {error}")
        wrong.help_text = "define or import the name before the task, in the same scope or at the top of the file"
        raise wrong from error


def unsupported(fn: Callable[..., object], name: str, annotation: Any, reason: str) -> TaskDefinitionError:
    """Make the HRS-105 error for a parameter, or for the result if ``name`` is "return"."""
    where = "the result" if name == "return" else f"parameter {name!r}"
    return TaskDefinitionError(
        ErrorCode.TASK_UNSUPPORTED_TYPE,
        f"{where} of {fn.__name__}() has the annotation {show_type(annotation)}, which cannot be represented as JSON",
        location=function_location(fn),
        notes=[reason],
        help_text="use data types: JSON types, dates, enums, dataclasses, pydantic models and the like",
    )


def plain_args(_task_name: str, stored: bytes) -> Any:
    """Decode stored arguments as plain JSON by parameter name; return the text itself if it is not JSON."""
    try:
        return decode_json(stored)
    except CodecError:
        return stored.decode(errors="replace")


class Variadics(Enum):
    """How a signature treats ``*args`` and ``**kwargs``."""

    REFUSED = auto()
    """They are errors, because the parameters of a task are fixed and named."""
    ACCEPTED = auto()
    """``**kwargs`` takes arguments of any other name; ``*args`` takes nothing, because arguments are passed by name."""


class SignatureCodec:
    """Encodes the arguments of one function as a JSON object by parameter name.

    Only arguments that the caller passes are stored. Defaults come from the code that runs the task. ``*args`` and
    ``**kwargs`` are not among the parameters, but `parameter` resolves names to ``**kwargs``.

    Attributes:
        name: The name of the function.
        parameters: The parameters by name, with resolved annotations; `Any` for a parameter without an annotation.
        required: The names of the parameters without a default.
        positional: The names of the parameters that can be passed by position, in their order.
        secret_paths: The paths from the encoded arguments to those that are secret.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        localns: Mapping[str, Any] | None = None,
        *,
        skip: int = 0,
        variadics: Variadics = Variadics.REFUSED,
        redact: Sequence[SecretPath] = (),
    ) -> None:
        """Read the signature of a function.

        Args:
            fn: The function.
            localns: The local names at its definition, for annotations that are strings.
            skip: The number of leading parameters that are not arguments of the call.
            variadics: Whether ``*args`` and ``**kwargs`` are accepted.
            redact: Paths to secret arguments, in addition to those that `Secret` marks.

        Raises:
            TaskDefinitionError: HRS-105: The type of a parameter cannot be represented as JSON.
        """
        self.name = fn.__name__
        self.parameters = _parameters(fn, localns, skip, variadics)
        self._other = _take_variadics_out(self.parameters)
        self._codec = _CallCodec(fn, self.parameters, localns)
        self._other_codec = None if self._other is None else _codec_of_others(fn, self._other, localns)
        self.secret_paths = (*secret_paths(self._codec.schema), *redact)
        self._localns = localns
        self._alone: dict[str, TypeCodec] = {}
        kinds = {name: parameter.kind for name, parameter in self.parameters.items()}
        self.positional = [name for name, kind in kinds.items() if kind is not Parameter.KEYWORD_ONLY]
        self._positional_only = [name for name, kind in kinds.items() if kind is Parameter.POSITIONAL_ONLY]
        self._by_keyword = kinds.keys() - self._positional_only
        self.required = frozenset(name for name, each in self.parameters.items() if each.default is _MISSING)

    def parameter(self, name: object) -> Parameter | None:
        """Return the parameter for an argument of this name, which may be ``**kwargs``; None if there is none."""
        return self.parameters.get(name, self._other) if isinstance(name, str) else None

    def encode_call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
        """Encode the arguments of a call, in the form of `seal` if some of them are secret.

        Raises:
            CodecError: An argument does not bind or does not have the declared type; `CodecError.parameter` names it.
        """
        call = self._bind(args, kwargs)
        if not self.secret_paths:
            return self._codec.encode(call)
        try:
            return seal_at(self._codec.encode(call), self.secret_paths)
        except CodecError as error:
            raise hidden_error(error, self.secret_paths) from None

    def has_argument(self, path: SecretPath) -> bool:
        """Whether encoded arguments can have something at a path."""
        return has_place(self._codec.schema, path)

    def secret_parameters(self) -> set[str]:
        """Return the names of the parameters of which a part is secret."""
        return {path[0] for path in self.secret_paths}

    def encode_compared(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], names: Sequence[str] | None) -> bytes:
        """Encode some arguments of a call, or all, including the defaults of those that were not passed.

        A default that cannot be represented as JSON is left out: it is the same for all calls.

        Args:
            args: The positional arguments.
            kwargs: The keyword arguments.
            names: The parameters to encode; None: all of them.

        Raises:
            CodecError: An argument does not bind or does not have the declared type; `CodecError.parameter` names it.
        """
        call = self._bind(args, kwargs)
        found: dict[str, bytes] = {}
        for name in self.parameters if names is None else names:
            if name in call:
                found[name] = self.encode_argument(name, call[name])
            else:
                with suppress(CodecError):
                    found[name] = self._encode_default(name)
        return b"{" + b",".join(encode_json(name) + b":" + value for name, value in found.items()) + b"}"

    def key_of(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], by: str | Sequence[str]) -> str | None:
        """Return the key that some arguments of a call make, including defaults.

        One string is its own key, another single value is its JSON text, and several values are a compact JSON array.

        Args:
            args: The positional arguments.
            kwargs: The keyword arguments.
            by: The parameter, or the parameters.

        Returns:
            The key; None: the single argument is None.

        Raises:
            CodecError: An argument does not bind or does not have the declared type; `CodecError.parameter` names it.
        """
        call = self._bind(args, kwargs)
        names = (by,) if isinstance(by, str) else by
        values = [
            self.encode_argument(name, call[name] if name in call else self.parameters[name].default) for name in names
        ]
        return key_of_values(values, is_single=isinstance(by, str))

    def encode_argument(self, name: str, value: Any) -> bytes:
        """Encode a single argument, for a call whose other arguments are not known yet.

        Raises:
            CodecError: The argument does not have the declared type. The path begins with the parameter.
        """
        try:
            with _in_argument(name):
                return self._codec_of(name).encode(value)
        except CodecError as error:
            if not self.secret_paths:
                raise
            raise hidden_error(error, self.secret_paths) from None

    def decode_argument(self, name: str, data: bytes | str) -> Any:
        """Decode a single argument, for a call whose other arguments may be wrong.

        Raises:
            CodecError: The argument does not have the declared type. The path begins with the parameter.
        """
        try:
            with _in_argument(name):
                return self._codec_of(name).decode(data)
        except CodecError as error:
            if not self.secret_paths:
                raise
            raise hidden_error(error, self.secret_paths) from None

    def _encode_default(self, name: str) -> bytes:
        """Encode the default of a parameter, without its secret parts: defaults are declared in the database."""
        encoded = self.encode_argument(name, self.parameters[name].default)
        inside = [path[1:] for path in self.secret_paths if path[0] == name]
        return encode_json(redact(decode_json(encoded), inside)) if inside else encoded

    def check_call(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, exempt: Container[str] = ()
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Check the arguments of a call as if they were sent, and return the arguments that a worker would pass.

        Args:
            args: The positional arguments.
            kwargs: The keyword arguments.
            exempt: Parameters whose arguments are not checked, because they are never sent.

        Raises:
            CodecError: An argument does not bind, does not have the declared type or cannot be sent;
                `CodecError.parameter` names it.
        """
        call = self._bind(args, kwargs)
        for name, value in call.items():
            if name not in exempt:
                with _in_argument(name):
                    codec = self._codec_of(name)
                    call[name] = codec.check(value)
                    codec.write(value, call[name])
        return self._in_order(call)

    def decode_call(self, data: bytes | str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Decode the positional and keyword arguments of a call.

        Raises:
            CodecError: An argument does not fit the signature; `CodecError.parameter` names it.
        """
        try:
            return self._decoded(data)
        except CodecError as error:
            if not self.secret_paths:
                raise
            raise hidden_error(error, self.secret_paths) from None

    def _decoded(self, data: bytes | str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if self._other is None:
            return self._in_order(self._codec.decode(data))
        stored: dict[str, Any] = decode_json(data)
        others = {name: stored.pop(name) for name in stored.keys() - self.parameters.keys()}
        args, kwargs = self._in_order(self._codec.decode(encode_json(stored)))
        for name, value in others.items():
            with _in_argument(name):
                kwargs[name] = self._codec_of(name).decode(encode_json(value))
        return args, kwargs

    def _in_order(self, call: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Separate the positional-only arguments from the others."""
        if not self._positional_only:
            return (), call
        return tuple(call.pop(name) for name in self._positional_only if name in call), call

    def _codec_of(self, name: str) -> TypeCodec:
        """Return the codec of a single argument."""
        codec = self._alone.get(name)
        if codec is None:
            parameter = self.parameters.get(name)
            if parameter is None and self._other_codec is not None:
                return self._other_codec
            codec = self._alone[name] = TypeCodec(Any if parameter is None else parameter.annotation, self._localns)
        return codec

    def json_schema(self) -> dict[str, Any]:
        """Return a JSON Schema of the encoded arguments of a call. Types without a JSON Schema allow any value."""
        defaults = Defaults.OMITTED if self.secret_paths else Defaults.SHOWN
        try:
            return self._codec.json_schema(defaults)
        except UnsupportedType:
            properties = {name: self._codec_of(name).json_schema_or_any(defaults) for name in self.parameters}
            required = [name for name in self.parameters if name in self.required]
            return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}

    def encode_defaults(self) -> bytes:
        """Encode the defaults of the parameters by name, without those that do not have the declared type."""
        encoded: dict[str, bytes] = {}
        for name, parameter in self.parameters.items():
            if parameter.default is not _MISSING:
                with suppress(CodecError):
                    encoded[name] = self._encode_default(name)
        return b"{%s}" % b",".join(b"%s:%s" % (encode_json(name), value) for name, value in encoded.items())

    def decode_arguments(self, data: bytes | str) -> dict[str, Any]:
        """Decode the arguments of a call by parameter name.

        Raises:
            CodecError: An argument does not fit the signature; `CodecError.parameter` names it.
        """
        return self._codec.decode(data)

    def _bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        if len(args) > len(self.positional):
            raise self._unbound(None, f"takes {len(self.positional)} positional arguments, got {len(args)}")
        call = dict(zip(self.positional, args, strict=False))
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


def key_of_values(values: Sequence[bytes], *, is_single: bool) -> str | None:
    """Return the key that encoded values make; see `SignatureCodec.key_of`."""
    if not is_single:
        return "[" + ",".join(value.decode() for value in values) + "]"
    value = decode_json(values[0])
    return value if value is None or isinstance(value, str) else values[0].decode()


@contextmanager
def _in_argument(name: str) -> Generator[None]:
    """Prefix the path of an error within this block with the name of the argument."""
    try:
        yield
    except InvalidJson:
        raise
    except CodecError as error:
        raise CodecError((name, *error.path), error.message) from error


class BindingError(CodecError):
    """Arguments that a direct call of the function would also reject."""

    def __str__(self) -> str:
        """Return the message without the path, because it names the function and the parameter."""
        return self.message


class _CallCodec(TypeCodec):
    """The codec of all arguments as one typed dict, which needs a single validation."""

    def __init__(
        self, fn: Callable[..., Any], parameters: Mapping[str, Parameter], localns: Mapping[str, Any] | None
    ) -> None:
        try:
            super().__init__(_typed_dict(fn.__name__, parameters), localns)
        except Exception as error:
            raise _find_unsupported(fn, parameters, localns, error) from error
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
        """Find the argument that caused an error about the whole call."""
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
        if self._transforms:  # compare only parameters of plain types, which no validator changes
            value, checked = (
                {name: call[name] for name in self._exact_by_name if name in call} for call in (value, checked)
            )
        self._compare(value, checked)


def _parameters(
    fn: Callable[..., Any], localns: Mapping[str, Any] | None, skip: int, variadics: Variadics
) -> dict[str, Parameter]:
    parameters: dict[str, Parameter] = {}
    for name, parameter in list(inspect.signature(fn).parameters.items())[skip:]:
        if parameter.kind in _VARIADIC and variadics is Variadics.REFUSED:
            raise TaskDefinitionError(
                ErrorCode.TASK_UNSUPPORTED_TYPE,
                f"{fn.__name__}() takes {parameter}, but the parameters of a task must be fixed and named",
                location=function_location(fn),
                help_text="declare a parameter of type list or dict instead",
            )
        given = parameter.annotation
        hint = Any if given is _MISSING else resolve_annotation(fn, name, given, localns)
        parameters[name] = parameter.replace(annotation=hint)
    return parameters


def _take_variadics_out(parameters: dict[str, Parameter]) -> Parameter | None:
    """Remove ``*args`` and ``**kwargs``, and return the parameter that takes arguments of any other name, if any."""
    other: Parameter | None = None
    for name, parameter in list(parameters.items()):
        if parameter.kind in _VARIADIC:
            del parameters[name]
        if parameter.kind is Parameter.VAR_KEYWORD and get_origin(parameter.annotation) is Unpack:
            parameters |= _unpacked(get_args(parameter.annotation)[0])
        elif parameter.kind is Parameter.VAR_KEYWORD:
            other = Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=parameter.annotation)
    return other


def _unpacked(keywords: Any) -> dict[str, Parameter]:
    """Return the parameters that ``**kwargs: Unpack[keywords]`` declares, where ``keywords`` is a TypedDict."""
    parameters: dict[str, Parameter] = {}
    for name, hint in get_type_hints(keywords, include_extras=True).items():
        plain = get_args(hint)[0] if get_origin(hint) in {Required, NotRequired} else hint
        default = Parameter.empty if name in keywords.__required_keys__ else None
        parameters[name] = Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=plain)
    return parameters


def _codec_of_others(fn: Callable[..., Any], other: Parameter, localns: Mapping[str, Any] | None) -> TypeCodec:
    try:
        return TypeCodec(other.annotation, localns)
    except UnsupportedType as error:
        raise unsupported(fn, other.name, other.annotation, str(error)) from error


def _typed_dict(name: str, parameters: Mapping[str, Parameter]) -> Any:
    hints = {
        parameter: details.annotation if details.default is _MISSING else NotRequired[details.annotation]
        for parameter, details in parameters.items()
    }
    call = cast("Any", TypedDict)(name, hints)
    call.__pydantic_config__ = {"extra": "forbid"}
    return call


def _find_unsupported(
    fn: Callable[..., Any],
    parameters: Mapping[str, Parameter],
    localns: Mapping[str, Any] | None,
    error: Exception,
) -> TaskDefinitionError:
    """Return the error for the parameter whose type is unsupported."""
    for name, parameter in parameters.items():
        try:
            TypeCodec(parameter.annotation, localns)
        except UnsupportedType as own_error:
            return unsupported(fn, name, parameter.annotation, str(own_error))
    message = f"the parameters of {fn.__name__}() cannot be represented together as JSON"
    location = function_location(fn)
    return TaskDefinitionError(ErrorCode.TASK_UNSUPPORTED_TYPE, message, location=location, notes=[str(error)])
