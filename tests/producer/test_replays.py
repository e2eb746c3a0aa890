"""A small part of the run of `tests.producer.replays`."""

from tests.producer.replays import run_all
from tests.support.proxy import Proxy
from tests.support.sessions import Session

CUTS = 60
KILLS = 2


def test_every_lost_answer_can_be_replayed_into_one_task(
    database_url: str, tcp_database_url: str, proxy: Proxy, db: Session
) -> None:
    run = run_all(db, proxy, (database_url, tcp_database_url), (CUTS, KILLS, 1))
    assert run.seen["cut"] >= CUTS
    assert run.seen["killed"] == KILLS
    for situation in ("not committed", "committed before the replay", "ended before the replay"):
        assert run.seen[situation] > 0, run.seen
