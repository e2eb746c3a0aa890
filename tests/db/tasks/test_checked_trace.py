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
    ("trace", "problem"),
    [
        ([PARENT], "is not a JSON object, but of the type array"),
        ({"tracestate": "a=1"}, "has no traceparent"),
        ({"traceparent": "00-zz-01"}, "has the invalid traceparent '00-zz-01'"),
        ({"traceparent": PARENT, "baggage": "x" * 8192}, "bytes, more than 8192"),
    ],
)
def test_a_wrong_trace_context_is_refused_with_the_reason(db: Session, trace: object, problem: str) -> None:
    with pytest.raises(errors.InvalidParameterValue, match=problem) as refused:
        checked(db, trace)
    assert "omit trace_context" in str(refused.value.diag.message_hint)
