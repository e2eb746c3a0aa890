"""The keys of tasks: which one a send has, by its option ``key`` or by the parameters that the task names."""

from collections.abc import Mapping

from horsies.codec.problems import CodecError, show_value
from horsies.db.operations import Unset
from horsies.tasks.registry import TaskDefinition

MOST_CHARACTERS = 200


def wrong_task_key(key: object) -> str | None:
    """Return why the option ``key`` is invalid, or None if it is valid."""
    if key is None or isinstance(key, Unset) or _is_valid(key):
        return None
    return f"key must be a text of 1 to {MOST_CHARACTERS} characters without NUL, got {show_value(key)}"


def key_of(
    definition: TaskDefinition, given: str | Unset | None, args: tuple[object, ...], kwargs: Mapping[str, object]
) -> str | None:
    """Return the key of a send: the one that was passed, or else that of its arguments. None: it has none.

    Raises:
        CodecError: The arguments do not bind, or the key that they make is too long.
    """
    if not isinstance(given, Unset):
        return given
    if definition.key_by is None:
        return None
    return checked_key(definition, definition.signature.key_of(args, kwargs, definition.key_by))


def checked_key(definition: TaskDefinition, key: str | None) -> str | None:
    """Return a key that was made of arguments.

    Raises:
        CodecError: It is empty or too long.
    """
    if key is None or _is_valid(key):
        return key
    names = definition.key_by if isinstance(definition.key_by, str) else ", ".join(definition.key_by or ())
    limits = f"must have 1 to {MOST_CHARACTERS} characters without NUL, got {len(key)}"
    raise CodecError((), f"the key of task {definition.name!r}, by {names}, {limits}")


def _is_valid(key: object) -> bool:
    return isinstance(key, str) and 1 <= len(key) <= MOST_CHARACTERS and "\0" not in key and _is_encodable(key)


def _is_encodable(key: str) -> bool:
    """Whether a text can be stored, which a text with lone surrogates cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in key)
