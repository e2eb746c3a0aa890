"""Every action of the broker object leaves one record, with the name of the person or program."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from uuid import UUID

import pytest

from horsies import Broker, TaskStatus
from horsies.config.rates import NO_LIMIT, RateLimit
from horsies.monitoring.audit import ACTIONS, AuditRecord, current_user
from tests.producer.shop import Do, Hand, Shop
from tests.support.factories import define, prefetch
from tests.support.sessions import Session, freeze_clock, move_clock

READS = re.compile(r"(get|list|search|preview)_\w+|database_url|handle|ping(_workers)?|who|runner|why")
"""The names of methods that change nothing. `handle` makes the object with which applications cancel."""

type Action = Callable[["Setup"], Awaitable[object]]


class Setup:
    """A queue with something to act on."""

    def __init__(self, shop: Shop, db: Session, hand: Hand) -> None:
        self.shop, self.db, self.hand = shop, db, hand
        self.broker = shop.app.get_broker(who="ada")

    def sent(self) -> str:
        return self.shop.add.send(1).unwrap().task_id

    def ended(self) -> str:
        task_id = self.sent()
        self.hand.end(UUID(task_id))
        return task_id


@pytest.fixture
def setup(shop: Shop, db: Session, hand: Hand) -> Iterator[Setup]:
    freeze_clock(db)
    db.execute("insert into horsies.queues (name, turns) values ('default', 'on')")
    define(db)
    made = Setup(shop, db, hand)
    yield made
    asyncio.run(shop.app.close_async())


async def cancel_tasks(setup: Setup) -> None:
    ended, live = setup.ended(), setup.sent()
    assert (await setup.broker.cancel_tasks([live, ended])).unwrap() == [live]


async def rerun_tasks(setup: Setup) -> None:
    setup.ended()
    preview = (await setup.broker.preview_rerun([TaskStatus.COMPLETED], task_name="add")).unwrap()
    for verdict in ("sent", "changed"):
        [outcome] = (await setup.broker.rerun_tasks(preview.candidates)).unwrap()
        assert outcome.verdict == verdict


async def resume_queue(setup: Setup) -> None:
    setup.db.execute("update horsies.queues set paused = true")
    assert (await setup.broker.resume_queue("default")).unwrap()


async def resume_key(setup: Setup) -> None:
    await setup.shop.app.get_broker(who="bob").pause_key_async("default", "tenant")
    setup.db.execute("delete from horsies.audit")
    assert (await setup.broker.resume_key_async("default", "tenant")).unwrap()


async def resume_schedule(setup: Setup) -> None:
    setup.db.execute("update horsies.schedules set paused = true")
    assert (await setup.broker.resume_schedule("nightly")).unwrap()


async def mark_stale_tasks_as_failed(setup: Setup) -> None:
    setup.hand.claim(UUID(setup.sent()))
    move_clock(setup.db, 600)
    assert (await setup.broker.mark_stale_tasks_as_failed()).unwrap() == 1


async def requeue_stale_claimed(setup: Setup) -> None:
    prefetch(setup.db, setup.hand.claim(UUID(setup.sent())))
    move_clock(setup.db, 600)
    assert (await setup.broker.requeue_stale_claimed()).unwrap() == 1


METHODS: dict[str, tuple[str, Action]] = {
    "cancel_tasks": ("task.cancel", cancel_tasks),
    "rerun_tasks": ("task.rerun", rerun_tasks),
    "requeue_stale_claimed": ("task.return", requeue_stale_claimed),
    "mark_stale_tasks_as_failed": ("worker.declare_dead", mark_stale_tasks_as_failed),
    "pause_queue": ("queue.pause", lambda setup: setup.broker.pause_queue("default")),
    "resume_queue": ("queue.resume", resume_queue),
    "cap_queue": ("queue.cap", lambda setup: setup.broker.cap_queue("default", 3)),
    "limit_queue": (
        "queue.limit",
        lambda setup: setup.broker.limit_queue_async(
            "default", per_key=2, rate=RateLimit(limit=5, per_seconds=60), rate_per_key=NO_LIMIT
        ),
    ),
    "pause_key": ("key.pause", lambda setup: setup.broker.pause_key_async("default", "tenant", reason="overdue")),
    "resume_key": ("key.resume", resume_key),
    "pause_schedule": ("schedule.pause", lambda setup: setup.broker.pause_schedule("nightly")),
    "resume_schedule": ("schedule.resume", resume_schedule),
    "run_schedule": ("schedule.run", lambda setup: setup.broker.run_schedule("nightly")),
}
"""For each method that changes something, the recorded action, and how to do it so that it changes something."""


def test_every_method_of_the_broker_is_tested_here() -> None:
    public = {name.removesuffix("_async") for name in dir(Broker) if not name.startswith("_")}
    assert {name for name in public if not READS.fullmatch(name)} == METHODS.keys()
    elsewhere = {each for each in ACTIONS if each.startswith(("run.", "bulk.")) or each == "task.send"}
    assert {action for action, _ in METHODS.values()} == {*ACTIONS} - elsewhere


@pytest.mark.parametrize("method", METHODS)
def test_an_action_leaves_one_record(setup: Setup, method: str) -> None:
    action, act = METHODS[method]

    async def acted() -> list[AuditRecord]:
        await act(setup)
        return (await setup.broker.get_audit_async()).unwrap()

    with asyncio.Runner() as runner:
        [record] = runner.run(acted())
        runner.run(setup.shop.app.close_async())
    assert (record.action, record.who, len(record.subjects)) == (action, "ada", 1)
    if method == "limit_queue":
        assert record.details == {
            "per_key": 2,
            "rate": {"limit": 5, "per_seconds": 60.0, "burst": 1},
            "rate_per_key": "none",
        }
    if method == "pause_key":
        assert record.details == {"queue": "default", "reason": "overdue"}


def test_an_action_that_changes_nothing_leaves_no_record(setup: Setup, do: Do) -> None:
    async def act() -> None:
        await setup.broker.resume_queue("default")
        await setup.broker.cap_queue("default", None)
        await setup.broker.cancel_tasks([setup.ended()])
        await setup.broker.resume_schedule("nightly")
        await setup.broker.pause_schedule("unknown")
        await setup.broker.rerun_tasks([])
        await setup.broker.requeue_stale_claimed()
        await setup.shop.app.close_async()

    asyncio.run(act())
    assert do(setup.broker.get_audit).unwrap() == []


def test_handles_and_the_app_leave_no_record(setup: Setup, do: Do) -> None:
    assert do(setup.shop.app.handle(setup.sent()).cancel).unwrap()
    assert do(setup.broker.handle(setup.sent()).cancel).unwrap()
    assert do(setup.shop.app.rerun, setup.ended()).unwrap()
    assert do(setup.broker.get_audit).unwrap() == []


def test_without_a_name_it_is_the_user_and_the_host(setup: Setup, do: Do) -> None:
    broker = setup.shop.app.get_broker()
    do(broker.pause_key, "default", "tenant")
    move_clock(setup.db, 1)
    do(broker.pause_key, "default", "other", who="bob")
    assert [each.who for each in do(broker.get_audit).unwrap()] == ["bob", current_user()]


def test_conditions_and_pages(setup: Setup, do: Do) -> None:
    for number in range(3):
        do(setup.broker.pause_key, "default", f"tenant-{number}")
        move_clock(setup.db, 1)
    page = do(setup.broker.get_audit, limit=2).unwrap()
    assert [each.subjects for each in page] == [("tenant-2",), ("tenant-1",)]
    [rest] = do(setup.broker.get_audit, before=page[-1].id).unwrap()
    assert rest.subjects == ("tenant-0",)
    assert do(setup.broker.get_audit, subject="tenant-0", actions=["key.pause"], who="ada").unwrap() == [rest]
    assert do(setup.broker.get_audit, until=rest.acted_at + timedelta(seconds=1)).unwrap() == [rest]
    assert do(setup.broker.get_audit, since=rest.acted_at + timedelta(seconds=1)).unwrap() == page


def test_wrong_conditions_are_refused(setup: Setup, do: Do) -> None:
    assert "there is no action 'pause'" in do(setup.broker.get_audit, actions=["pause"]).unwrap_err().message
    assert "before must be the id of a record" in do(setup.broker.get_audit, before="x").unwrap_err().message
    assert "limit must be" in do(setup.broker.get_audit, limit=0).unwrap_err().message
