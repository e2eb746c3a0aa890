"""`tokens_left`: how many tokens a bucket holds."""

import pytest

from tests.support.sessions import Session, scalar


@pytest.mark.parametrize(
    ("us", "left"), [(0, 5), (1, 4), (1_000_000, 4), (1_000_001, 3), (4_999_999, 0), (9_000_000, 0)]
)
def test_a_part_of_a_token_does_not_count(db: Session, us: int, left: int) -> None:
    query = "select horsies.tokens_left(c + %s * interval '1 us', c, 1000000, 5) from (select now()) as t (c)"
    assert scalar(db, query, us) == left


def test_a_missing_bucket_is_full_and_without_a_rate_nothing_is_counted(db: Session) -> None:
    assert scalar(db, "select horsies.tokens_left(null, now(), 1000000, 5)") == 5
    assert scalar(db, "select horsies.tokens_left(null, now(), null, null)") is None
