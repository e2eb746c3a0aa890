"""`argument_names`: the names of the members of a JSON object, whatever the values contain."""

import pytest
from psycopg import errors

from tests.support.sessions import Session, scalar

NAMES = "select horsies.argument_names(%s::text::json)"
CASES = {
    "{}": [],
    '{"b": 1, "a": {"c": 2}}': ["b", "a"],
    r'{"\u0061": 1, "größe": 2}': ["a", "größe"],
    r'{"a": "x\u0000y", "b": ["\u0000"]}': ["a", "b"],
    r'{"a": "\\u0000", "b": "\\\u0000", "c": "\\\\u0000", "d": "\""}': ["a", "b", "c", "d"],
    r'{"a": "\u0000", "\u0062": "\\", "\\": 1}': ["a", "b", "\\"],
    r'{"\u0000": 1}': ["␀"],
}


@pytest.mark.parametrize("text", CASES)
@pytest.mark.parametrize("setting", ["on", "off"])
def test_names(db: Session, text: str, setting: str) -> None:
    db.execute(f"set standard_conforming_strings = {setting}".encode())
    assert scalar(db, NAMES, text) == CASES[text]


def test_text_that_no_worker_can_read_is_refused(db: Session) -> None:
    with pytest.raises(errors.InvalidTextRepresentation):
        scalar(db, NAMES, r'{"a": "\ud800"}')
