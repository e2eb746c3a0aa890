"""`tokens_due`: when it is worth to look for tokens again."""

import pytest

from tests.support.sessions import Session, scalar

TOKEN = 1_000_000_000


@pytest.mark.parametrize(
    ("token_us", "burst", "wait_us"),
    [(1_000_000, 1, 1_000_000), (1_000_000, 5, 1_000_000), (1_000, 100, 20_000), (1, 5, 5), (142_858, 3, 142_858)],
)
def test_20_ms_of_tokens_are_waited_for(db: Session, token_us: int, burst: int, wait_us: int) -> None:
    query = "select extract(epoch from horsies.tokens_due(%s, %s, %s, %s, %s, c) - c) * 1000000 from (select now()) as t (c)"
    assert round(scalar(db, query, 7 * TOKEN, 7 * TOKEN, (7 - burst) * TOKEN, token_us, burst)) == wait_us
    assert round(scalar(db, query, None, 7 * TOKEN, 7 * TOKEN, token_us, burst)) == wait_us


def test_a_part_of_a_token_shortens_the_wait(db: Session) -> None:
    query = "select horsies.tokens_due(%s, %s, %s, 60000000, 5, c) - c = interval '15 s' from (select now()) as t (c)"
    assert scalar(db, query, 0, TOKEN * 3 // 4, -5 * TOKEN)
