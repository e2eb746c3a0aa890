"""The secrets of Django tasks: where `Secret` marks arguments and results, in the form in which they are stored."""

from collections.abc import Callable, Iterator
from inspect import Parameter, signature
from typing import Any

from pydantic import ConfigDict, TypeAdapter

from horsies.codec.secrets import SecretPath, secret_paths

_NAME = "Secret"
_LENIENT = ConfigDict(arbitrary_types_allowed=True)


def secret_arguments(func: Callable[..., Any], *, takes_context: bool) -> list[SecretPath]:
    """Return the paths to the secret arguments, which are stored as a list ``args`` and an object ``kwargs``."""
    return list(_secret_arguments(func, takes_context=takes_context))


def _secret_arguments(func: Callable[..., Any], *, takes_context: bool) -> Iterator[SecretPath]:
    parameters = list(_signature(func).parameters.values())[int(takes_context) :]
    for place, parameter in enumerate(parameters):
        for path in _paths_in(parameter.annotation):
            match parameter.kind:
                case Parameter.VAR_POSITIONAL:
                    yield ("args", "*", *path)
                case Parameter.VAR_KEYWORD:
                    yield ("kwargs", "*", *path)
                case _:
                    yield ("args", str(place), *path)
                    yield ("kwargs", parameter.name, *path)


def returns_secret(func: Callable[..., Any]) -> bool:
    """Whether the result of a Django task is, or contains, a secret. It is then hidden as a whole."""
    return bool(_paths_in(_signature(func).return_annotation))


def _signature(func: Callable[..., Any]) -> Any:
    """Return a signature. If one of its annotations exists for type checkers only, texts are left as they are."""
    try:
        return signature(func, eval_str=True)
    except Exception:  # noqa: BLE001 - annotations are any expressions
        return signature(func)


def _paths_in(annotation: object) -> tuple[SecretPath, ...]:
    """Return the paths to the secrets in values of a type.

    Django does not use annotations, so they may be of any kind. If the place of a secret is not known, the whole value
    is secret.
    """
    if annotation is Parameter.empty:
        return ()
    try:
        schema = TypeAdapter(list[annotation], config=_LENIENT).core_schema  # type: ignore[valid-type]
    except Exception:  # noqa: BLE001 - pydantic reads types in which the code of users takes part
        return ((),) if _NAME in str(annotation) else ()
    return tuple(path[1:] for path in secret_paths(schema))
