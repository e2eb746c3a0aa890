"""`queue_status`: the state of all queues that anybody knows of."""

from datetime import timedelta
from typing import Any

from horsies.db.queries import monitoring as monitoring_queries
from horsies.db.queries import status as status_queries
from horsies.db.queries.status import QueueStatusRow
from tests.db.test_plans import fill, reading
from tests.support.factories import DrivenWorker, request, send, send_many
from tests.support.flow import hold
from tests.support.sessions import NOON, Session, call, freeze_clock, move_clock


def status(db: Session, *names: str) -> dict[str, QueueStatusRow]:
    return {row.name: row for row in call(db, status_queries.queue_status(names))}


def part(row: QueueStatusRow, *names: str) -> tuple[Any, ...]:
    return tuple(getattr(row, name) for name in names)


def test_queues_are_known_from_names_workers_settings_and_tasks(db: Session) -> None:
    DrivenWorker(db, queues=["served"])
    call(db, monitoring_queries.queue_control("paused", "pause"))
    send(db, request(queue="waiting"))
    assert list(status(db, "named")) == ["named", "paused", "served", "waiting"]
    assert status(db, "named")["named"].waiting_accuracy == "exact"


def test_each_state_is_counted(db: Session) -> None:
    freeze_clock(db)
    worker = DrivenWorker(db, caps={"default": None})
    send_many(db, 6)
    worker.claim(2)
    worker.prefetch(1)
    send_many(db, 2, delay=60, first=10)
    db.execute("update horsies.tasks set held = true where id = (select id from horsies.tasks"
               " where status = 'PENDING' and run_at <= horsies.now() limit 1)")  # fmt: skip
    move_clock(db, 30)
    found = status(db)["default"]
    assert part(found, "waiting", "scheduled", "held", "claimed", "running", "workers") == (2, 2, 1, 1, 2, 1)
    assert found.oldest_due_at == NOON
    assert found.clock == NOON + timedelta(seconds=30)


def test_caps_pauses_and_holds(db: Session) -> None:
    freeze_clock(db)
    DrivenWorker(db, caps={"default": 5, "mail": 3})
    DrivenWorker(db, caps={"default": 4})
    call(db, monitoring_queries.queue_control("mail", "cap", 9))
    call(db, monitoring_queries.queue_control("mail", "pause"))
    hold(db, "horsies.now() + interval '1 minute'")
    found = status(db)
    assert part(found["mail"], "max_concurrency", "paused", "held_until") == (9, True, None)
    expected = (4, False, NOON + timedelta(minutes=1))
    assert part(found["default"], "max_concurrency", "paused", "held_until") == expected
    move_clock(db, 61)
    assert status(db)["default"].held_until is None


def test_a_silent_worker_serves_nothing(db: Session) -> None:
    freeze_clock(db)
    DrivenWorker(db, stale_after_s=10)
    move_clock(db, 11)
    assert status(db, "default")["default"].workers == 0


def test_sums_of_several_names_say_how_they_are_known(db: Session) -> None:
    freeze_clock(db)
    fill(db, 1_000_000, due_in=-3600_000, count=100_001)
    send(db, request(name="greet"))
    before = status(db)["default"]
    assert part(before, "waiting_accuracy", "counted_at") == ("at_least", None)
    assert before.waiting >= 100_000
    assert call(db, status_queries.count_waiting()) == 100_002
    move_clock(db, 1)
    after = part(status(db)["default"], "waiting", "waiting_accuracy", "scheduled_accuracy", "counted_at")
    assert after == (100_002, "counted", "exact", NOON)


def test_no_table_is_read_as_a_whole(db: Session) -> None:
    send_many(db, 2000)
    db.execute("analyze horsies.tasks")
    with reading(db) as reads:
        assert status(db)["default"].waiting == 2000
    assert "tasks" not in reads.whole_tables
