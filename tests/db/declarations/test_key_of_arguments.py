"""`key_of_arguments`: the key that arguments make, as Python makes it."""

import pytest

from tests.support.sessions import Session, scalar


@pytest.mark.parametrize(
    ("args", "key_by", "key"),
    [
        ('{"a": "x"}', '"a"', "x"),
        ('{"a": 7}', '"a"', "7"),
        ("{}", '"b"', "2"),
        ('{"a": null}', '"a"', None),
        ('{"a": "x", "b": true}', '["a", "b"]', '["x",true]'),
        ('{"a": null}', '["a", "b"]', "[null,2]"),
    ],
)
def test_the_key(db: Session, args: str, key_by: str, key: str | None) -> None:
    assert scalar(db, "select horsies.key_of_arguments(%s, %s, '{\"b\":2}')", args, key_by) == key
