"""`checked_trace`: the trace context that a program passes to `send` in SQL."""

import json
from typing import Any

import pytest
from psycopg import errors

from tests.support.sessions import Session, scalar

PARENT = f"00-{'a' * 32}-{'b' * 16}-01"


def checked(db: Session, trace: object) -> Any:
    found: bytes | None = scalar(
        db, "select horsies.checked_trace(%s::json)", None if trace is None else json.dumps(trace)
    )
    return None if found is None else json.loads(found)


def test_the_members_that_tasks_carry_are_kept(db: Session) -> None:
    assert checked(db, {"traceparent": PARENT, "tracestate": "a=1", "baggage": None, "links": ["x"]}) == {
        "traceparent": PARENT,
        "tracestate": "a=1",
    }
    assert checked(db, None) is None


@pytest.mark.parametrize(
    "trace",
    [
        {},
        {"tracestate": "a=1"},
        {"traceparent": "00-zz-01"},
        {"traceparent": f"{PARENT}\n"},
        {"traceparent": ["x"]},
        {"traceparent": PARENT, "baggage": "a\0b"},
    ],
)
def test_a_trace_context_that_is_not_valid_is_ignored(db: Session, trace: object) -> None:
    assert checked(db, trace) is None


def test_what_does_not_fit_is_left_out(db: Session) -> None:
    large = "x" * 8192
    assert checked(db, {"traceparent": PARENT, "tracestate": "a=1", "baggage": large}) == {
        "traceparent": PARENT,
        "tracestate": "a=1",
    }
    assert checked(db, {"traceparent": PARENT, "tracestate": large, "baggage": "a=1"}) == {"traceparent": PARENT}


def test_a_value_that_is_no_object_is_refused(db: Session) -> None:
    with pytest.raises(errors.InvalidParameterValue, match="is not a JSON object, but of the type array") as refused:
        checked(db, [PARENT])
    assert "omit trace_context" in str(refused.value.diag.message_hint)
