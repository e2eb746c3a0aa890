"""Whether every value of one annotation may stand where another is declared."""

import types
from collections.abc import Collection
from typing import Annotated, Any, Literal, TypeAliasType, Union, get_args, get_origin

_UNIONS = (Union, types.UnionType)
_CONTAINERS = frozenset({"builtins", "collections.abc"})


def without_aliases(annotation: Any) -> Any:
    """Follow ``type X = …``, also with parameters, and Annotated to what they stand for."""
    origin = get_origin(annotation)
    if isinstance(annotation, TypeAliasType):
        return without_aliases(annotation.__value__)
    if isinstance(origin, TypeAliasType):
        return without_aliases(origin.__value__[get_args(annotation)])
    return without_aliases(get_args(annotation)[0]) if origin is Annotated else annotation


def fits(given: Any, wanted: Any) -> bool:
    """Whether a value of type ``given`` may be passed where ``wanted`` is declared.

    It says no only where that is certain: what it can't judge (type variables, protocols) fits.
    Containers count as covariant, for what arrives is a copy.
    """
    given, wanted = without_aliases(given), without_aliases(wanted)
    if given is wanted or Any in (given, wanted) or wanted is object or given == wanted:
        return True
    if get_origin(given) in _UNIONS:
        return all(fits(member, wanted) for member in get_args(given))
    if get_origin(wanted) in _UNIONS:
        return any(fits(given, member) for member in get_args(wanted))
    if get_origin(given) is Literal:
        return _literal_fits(get_args(given), wanted)
    if get_origin(wanted) is Literal:
        return False
    return _class_fits(given, wanted)


def _literal_fits(values: tuple[Any, ...], wanted: Any) -> bool:
    if get_origin(wanted) is Literal:
        return set(values) <= set(get_args(wanted))
    return all(fits(type(value), wanted) for value in values)


def _class_fits(given: Any, wanted: Any) -> bool:
    kind, declared = _class_of(given), _class_of(wanted)
    if kind is None or declared is None:
        return True
    if not _is_subclass(kind, declared):
        return False
    inner, outer = get_args(given), get_args(wanted)
    if not inner or not outer or (kind is not declared and declared.__module__ not in _CONTAINERS):
        return True
    if kind is declared is tuple and Ellipsis not in inner:
        outer = outer[:1] * len(inner) if Ellipsis in outer else outer
        return len(inner) == len(outer) and all(map(fits, inner, outer))
    return len(inner) != len(outer) or all(map(fits, inner, outer))


def _class_of(annotation: Any) -> type | None:
    kind = types.NoneType if annotation is None else get_origin(annotation) or annotation
    return kind if isinstance(kind, type) else None


def _is_subclass(given: type, wanted: type) -> bool:
    if given is bool and wanted in {int, float}:
        return False  # a class of numbers in Python, and none in JSON
    if (given, wanted) == (int, float) or _is_same_source(given, wanted):
        return True
    try:
        return issubclass(given, wanted)
    except TypeError:  # protocols and typed dicts don't say
        return True


def _is_same_source(given: type, wanted: type) -> bool:
    """Whether a class is there twice, because its file is run as ``__main__`` and imported as well."""
    return given.__qualname__ == wanted.__qualname__ and "__main__" in {given.__module__, wanted.__module__}


def item_type(annotation: Any) -> Any:
    """The type of the items of a list or the like; `Any` if it does not say; None if it has no items."""
    plain = without_aliases(annotation)
    kind, arguments = _class_of(plain), get_args(plain)
    if plain is Any or kind is None:
        return Any
    if not issubclass(kind, Collection) or issubclass(kind, str | bytes | dict):
        return None
    return arguments[0] if len(arguments) == 1 or Ellipsis in arguments[1:] else Any
