"""`tokens_due`: when it is worth to look for tokens again."""

import pytest

from tests.support.sessions import Session, scalar


@pytest.mark.parametrize(
    ("token_us", "burst", "before_full_us"),
    [(1_000_000, 1, 0), (1_000_000, 5, 4_000_000), (1_000, 100, 80_000), (1, 5, 0)],
)
def test_20_ms_of_tokens_are_waited_for(db: Session, token_us: int, burst: int, before_full_us: int) -> None:
    query = "select extract(epoch from c - horsies.tokens_due(c, %s, %s)) * 1000000 from (select now()) as t (c)"
    assert round(scalar(db, query, token_us, burst)) == before_full_us
