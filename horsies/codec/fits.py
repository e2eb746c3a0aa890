"""Compatibility of annotations: whether every value of one type may be passed where another type is declared."""

import types
from collections.abc import Collection
from typing import Annotated, Any, Literal, TypeAliasType, Union, get_args, get_origin

_UNIONS = (Union, types.UnionType)
_CONTAINERS = frozenset({"builtins", "collections.abc"})


def without_aliases(annotation: Any) -> Any:
    """Resolve ``type X = …`` aliases, also generic ones, and Annotated to the underlying type."""
    origin = get_origin(annotation)
    if isinstance(annotation, TypeAliasType):
        return without_aliases(annotation.__value__)
    if isinstance(origin, TypeAliasType):
        return without_aliases(origin.__value__[get_args(annotation)])
    return without_aliases(get_args(annotation)[0]) if origin is Annotated else annotation


def fits(given: Any, declared: Any) -> bool:
    """Whether a value of type ``given`` may be passed where the type ``declared`` is declared.

    The result is False only if the types are certainly incompatible; type variables and protocols always fit.
    Containers are treated as covariant, because the receiver gets a copy.
    """
    given, declared = without_aliases(given), without_aliases(declared)
    if given is declared or Any in (given, declared) or declared is object or given == declared:
        return True
    if get_origin(given) in _UNIONS:
        return all(fits(member, declared) for member in get_args(given))
    if get_origin(declared) in _UNIONS:
        return any(fits(given, member) for member in get_args(declared))
    if get_origin(given) is Literal:
        return _literal_fits(get_args(given), declared)
    if get_origin(declared) is Literal:
        return False
    return _class_fits(given, declared)


def _literal_fits(values: tuple[Any, ...], declared: Any) -> bool:
    if get_origin(declared) is Literal:
        return set(values) <= set(get_args(declared))
    return all(fits(type(value), declared) for value in values)


def _class_fits(given: Any, declared: Any) -> bool:
    kind, target = _class_of(given), _class_of(declared)
    if kind is None or target is None:
        return True
    if not _is_subclass(kind, target):
        return False
    inner, outer = get_args(given), get_args(declared)
    if not inner or not outer or (kind is not target and target.__module__ not in _CONTAINERS):
        return True
    if kind is target is tuple and Ellipsis not in inner:
        outer = outer[:1] * len(inner) if Ellipsis in outer else outer
        return len(inner) == len(outer) and all(map(fits, inner, outer))
    return len(inner) != len(outer) or all(map(fits, inner, outer))


def _class_of(annotation: Any) -> type | None:
    kind = types.NoneType if annotation is None else get_origin(annotation) or annotation
    return kind if isinstance(kind, type) else None


def _is_subclass(given: type, declared: type) -> bool:
    if given is bool and declared in {int, float}:
        return False  # bool is a subclass of int in Python, but not a number in JSON
    if (given, declared) == (int, float) or _is_same_source(given, declared):
        return True
    try:
        return issubclass(given, declared)
    except TypeError:  # protocols and typed dicts do not support issubclass
        return True


def _is_same_source(given: type, declared: type) -> bool:
    """Whether both are the same class, which exists twice because its file runs as ``__main__`` and is imported."""
    return given.__qualname__ == declared.__qualname__ and "__main__" in {given.__module__, declared.__module__}


def item_type(annotation: Any) -> Any:
    """Return the item type of a list or other collection; `Any` if it is not declared; None if it has no items."""
    plain = without_aliases(annotation)
    kind, arguments = _class_of(plain), get_args(plain)
    if plain is Any or kind is None:
        return Any
    if not issubclass(kind, Collection) or issubclass(kind, str | bytes | dict):
        return None
    return arguments[0] if len(arguments) == 1 or Ellipsis in arguments[1:] else Any
