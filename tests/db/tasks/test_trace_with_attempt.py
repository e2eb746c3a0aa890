"""`trace_with_attempt`: the span of the latest attempt in the trace context of a task."""

import pytest

from tests.support.sessions import Session, scalar


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        (None, {"attempt": "new"}),
        ('{"traceparent": "p"}', {"traceparent": "p", "attempt": "new"}),
        ('{"traceparent": "p", "attempt": "old"}', {"traceparent": "p", "attempt": "new"}),
        *((odd, {"attempt": "new"}) for odd in ("null", "1", '"text"', "true", "[]", '[{"attempt": "old"}]')),
    ],
)
def test_the_latest_attempt_replaces_the_one_before(db: Session, context: str | None, expected: object) -> None:
    found = scalar(
        db,
        "select horsies.trace_with_attempt(%s::jsonb, 'new') = %s::text::jsonb",
        context,
        str(expected).replace("'", '"'),
    )
    assert found is True
