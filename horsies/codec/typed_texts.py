"""Arguments that people type: each is read as JSON if that fits the type of its parameter, and otherwise as text."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from horsies.codec.problems import CodecError
from horsies.codec.signature import SignatureCodec
from horsies.codec.text import decode_json


def meanings(text: str) -> list[str]:
    """Return the meanings of a typed argument: as JSON, if it is valid JSON, and as text.

    JSON is not normalized, because 1.10 may be meant as a decimal number.
    """
    as_text = json.dumps(text)
    try:
        decode_json(text)
    except CodecError:
        return [as_text]
    return [text, as_text]


def choose_meanings(
    signature: SignatureCodec, given: Mapping[str, Sequence[str]]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Choose the first meaning of each argument that fits its parameter.

    Args:
        signature: The parameters.
        given: For each argument, the JSON values that it may mean, the likeliest first.

    Returns:
        The positional arguments and the keyword arguments of the call.

    Raises:
        CodecError: An argument does not fit its parameter, which `CodecError.parameter` names. The message is about
            its first meaning.
    """
    chosen = {name: each[0] for name, each in given.items()}
    others = {name: list(each[1:]) for name, each in given.items()}
    first_problems: dict[str, CodecError] = {}
    while True:
        try:
            return signature.decode_call(_object(chosen))
        except CodecError as error:
            name = error.parameter or ""
            problem = first_problems.setdefault(name, error)
            if not others.get(name):
                raise problem from error
            chosen[name] = others[name].pop(0)


def _object(members: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{json.dumps(name)}: {value}" for name, value in members.items()) + "}"
