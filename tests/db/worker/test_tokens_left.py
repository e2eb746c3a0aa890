"""`tokens_left`: how many tokens a bucket holds."""

import pytest

from tests.support.sessions import Session, scalar

QUERY = "select horsies.tokens_left(%s, %s, %s)"
TOKEN = 1_000_000_000


@pytest.mark.parametrize(
    ("used_to", "left"),
    [(0, 5), (-9 * TOKEN, 5), (1, 4), (TOKEN, 4), (TOKEN + 1, 3), (5 * TOKEN, 0), (9 * TOKEN, 0), (None, 5)],
)
def test_a_part_of_a_token_and_what_is_before_a_full_bucket_do_not_count(
    db: Session, used_to: int | None, left: int
) -> None:
    assert scalar(db, QUERY, used_to, 5 * TOKEN, 0) == left


def test_without_a_rate_nothing_is_counted(db: Session) -> None:
    assert scalar(db, QUERY, 7, None, None) is None
