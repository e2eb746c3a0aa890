"""`redacted`: it replaces the same values as Python does."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from horsies.codec.secrets import SecretPath, redact
from tests.support.sessions import Session, scalar

REDACTED = "select horsies.redacted(%s::json, %s::jsonb)::text"

names = st.sampled_from(["a", "b", "0", "1", "*", "\\", "\u0001"])
keys = names | st.just("\u0000a")
documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["", "x", 'a "quoted" text', "\u0000"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=12,
)
paths = st.lists(st.lists(names, max_size=3).map(tuple), min_size=1, max_size=3)


def in_sql(db: Session, document: str, *where: SecretPath) -> str:
    return scalar(db, REDACTED, document, json.dumps(where))


@pytest.mark.parametrize(
    ("document", "where", "expected"),
    [
        ('{"card": {"number": 1, "name": "x"}}', ("card", "number"), '{"card":{"number":"[redacted]","name":"x"}}'),
        ('{"cards": [{"number": 1}, {"number": 2}]}', ("cards", "number"), None),
        ('{"card": null}', ("card",), '{"card":null}'),
        ('{"card": "4111"}', ("card", "number"), '{"card":"[redacted]"}'),
        ('{"a": 1.0, "b": [ 2 ]}', ("c",), '{"a":1.0,"b":[ 2 ]}'),
        ('{"a": "\\u0000", "b": 1}', ("b",), '{"a":"\\u0000","b":"[redacted]"}'),
        ('{"a": {"\\u0000": "4111"}}', ("a", "*"), '{"a":{"\\u0000":"[redacted]"}}'),
        ('{"\\u0001": {"\\u0000": "4111"}}', ("\u0001",), '{"\\u0001":"[redacted]"}'),
        ('{"\\\\u0001": {"\\u0000": "4111"}}', ("\\u0001",), '{"\\\\u0001":"[redacted]"}'),
        ("{}", ("a",), "{}"),
        ('{"a": []}', ("a", "*"), '{"a":[]}'),
    ],
)
def test_the_values_at_paths_are_replaced(db: Session, document: str, where: SecretPath, expected: str | None) -> None:
    expected = expected or '{"cards":[{"number":"[redacted]"},{"number":"[redacted]"}]}'
    assert in_sql(db, document, where) == expected


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # the session is only read
@given(documents, paths)
def test_python_and_sql_replace_the_same_values(db: Session, document: Any, where: list[SecretPath]) -> None:
    assert json.loads(in_sql(db, json.dumps(document), *where)) == redact(document, where)
