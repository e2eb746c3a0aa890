"""`compared_arguments`: the arguments in which a unique task is compared, in the form that Python makes."""

from typing import Any

import pytest

from horsies.codec.signature import SignatureCodec
from tests.support.sessions import Session, scalar

COMPARED = "select horsies.compared_arguments(%s::text::json, %s::text[], %s::text::json)"
DEFAULTS = '{"b":2,"größe":null}'
CASES = [
    ('{"a": 1}', ["a", "b"], '{"a":1,"b":2}'),
    ('{"b": null, "a": 1}', ["b"], '{"b":null}'),
    ('{"a": 1, "\\u0061": 3}', ["a"], '{"a":3}'),
    ('{"a": [1,  2.50]}', ["größe", "a"], '{"größe":null,"a":[1,  2.50]}'),
    ('{"a": 1}', ["missing"], "{}"),
    ('{"a": 1}', [], "{}"),
]
TEXTS = ["a\0b", "\\u0000", "\0\x01\\\0", "\x01a\0\x01b", '\\"\0\\\\', "\x01a"]


@pytest.mark.parametrize(("args", "names", "compared"), CASES)
def test_what_is_compared(db: Session, args: str, names: list[str], compared: str) -> None:
    assert scalar(db, COMPARED, args, names, DEFAULTS) == compared


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("setting", ["on", "off"])
def test_python_compares_the_same(db: Session, text: str, setting: str) -> None:
    def task(first: str, second: str = "x", *, third: Any = None) -> None: ...

    db.execute(f"set standard_conforming_strings = {setting}".encode())
    codec = SignatureCodec(task)
    args, defaults = codec.encode_call((text, text), {}).decode(), codec.encode_defaults().decode()
    for names in (["first"], ["third", "second"]):
        assert scalar(db, COMPARED, args, names, defaults) == codec.encode_compared((text, text), {}, names).decode()
