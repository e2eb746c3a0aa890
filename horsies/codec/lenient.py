"""Lenient encoding of errors: an error must never be lost because JSON cannot represent a part of it."""

from horsies.codec.text import encode_json
from horsies.plain import plain_data
from horsies.task_result import TaskError

_NOTE = "which JSON cannot represent: it is stored as its repr"


def lenient_error(error: TaskError) -> TaskError:
    """Copy an error with ``data`` that JSON can represent. The message names the types that were replaced by text."""
    data = plain_data(error.data)
    if not data.shown:
        return error.model_copy(update={"data": data.value})
    message = _with_note(error.message, f"data holds {', '.join(data.shown)}, {_NOTE}")
    return error.model_copy(update={"data": data.value, "message": message})


def lenient_json(error: TaskError) -> bytes:
    """Encode an error in which other fields than ``data`` cannot be represented as JSON, for example of a subclass."""
    lenient = lenient_error(error)
    fields = {name: plain_data(value) for name, value in lenient}
    plain = {name: field.value for name, field in fields.items()}
    shown = [f"{name} holds {', '.join(field.shown)}" for name, field in fields.items() if field.shown]
    if shown:
        plain["message"] = _with_note(plain["message"], f"{'; '.join(shown)}, {_NOTE}")
    return encode_json(plain)


def _with_note(message: str | None, note: str) -> str:
    return f"{message} ({note})" if message else note
