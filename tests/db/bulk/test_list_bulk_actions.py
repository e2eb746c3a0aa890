"""`list_bulk_actions`: the actions on many tasks, and one of them with a sample of its tasks."""

from horsies.db.queries import bulk as bulk_queries
from tests.support.bulk import control, found, preview, step
from tests.support.factories import send
from tests.support.sessions import Session, call, freeze_clock, move_clock, use_test_clocks


def test_the_latest_come_first_without_their_tasks(db: Session) -> None:
    send(db)
    first, second = preview(db), preview(db, wanted="queue:default")
    rows = call(db, bulk_queries.list_bulk_actions(None, 10))
    assert [(each.id, each.filter, each.sample) for each in rows] == [
        (second, "queue:default", []),
        (first, "queue:*", []),
    ]
    assert [each.id for each in call(db, bulk_queries.list_bulk_actions(None, 1))] == [second]


def test_one_has_a_sample_of_its_tasks(db: Session) -> None:
    tasks = [send(db) for _ in range(25)]
    bulk_id = preview(db)
    assert found(db, bulk_id).sample == tasks[:4:-1]


def test_it_says_for_how_long_nobody_has_worked_on_it(db: Session) -> None:
    freeze_clock(db)
    use_test_clocks(db)
    for _ in range(2):
        send(db)
    bulk_id = preview(db)
    assert found(db, bulk_id).idle_s is None
    control(db, bulk_id, "start")
    move_clock(db, 5)
    assert found(db, bulk_id).idle_s == 5
    step(db, bulk_id, 1)
    assert found(db, bulk_id).idle_s == 0
