"""A small part of the runs of `tests.producer.replays`."""

import pytest

from tests.producer.replays import Replays, run_all
from tests.producer.replays_many import BulkReplays
from tests.support.proxy import Proxy
from tests.support.sessions import Session

CUTS = 60
KILLS = 2
SITUATIONS = ("not committed", "committed before the replay", "ended before the replay")


@pytest.mark.parametrize(
    ("kind", "situations"),
    [(Replays, SITUATIONS), (BulkReplays, (*SITUATIONS, "first ones ended before the replay"))],
    ids=["single", "many"],
)
def test_every_lost_answer_can_be_replayed_into_one_task(
    database_url: str, tcp_database_url: str, proxy: Proxy, db: Session, *, kind: type[Replays], situations: list[str]
) -> None:
    run = run_all(kind(db, 1), proxy, (database_url, tcp_database_url), CUTS, KILLS)
    assert run.seen["cut"] >= CUTS
    assert run.seen["killed"] == KILLS
    for situation in situations:
        assert run.seen[situation] > 0, run.seen
