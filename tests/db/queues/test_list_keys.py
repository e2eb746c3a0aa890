"""`list_keys`: what is known about the keys of a queue, in bounded time."""

from datetime import timedelta

import pytest

from horsies.config.rates import RateLimit
from horsies.db.queries import limits as limit_queries
from horsies.db.queries.limits import KeyStats
from tests.support.factories import DrivenWorker, request, send
from tests.support.sessions import NOON, Session, call, freeze_clock


@pytest.fixture(autouse=True)
def keyed(db: Session) -> None:
    """The queue ``q`` is keyed, with a cap and a rate of each key."""
    freeze_clock(db)
    rate = RateLimit(limit=10, per_seconds=10, burst=5)
    db.execute(
        "insert into horsies.queues (name, turns, declared_per_key, rate_limit_per_key) values ('q', 'on', 2, %s)",
        (rate.to_json(),),
    )
    db.execute("select horsies.update_rates('q')")


def keys(db: Session, *, queue: str = "q", after: str | None = None, limit: int = 100) -> list[KeyStats]:
    return call(db, limit_queries.list_keys(queue, after, limit))


def wait_in_turns(db: Session, *given: str | None, priority: int = 100) -> None:
    """Send tasks that are due and have their place in the order of turns."""
    for key in given:
        task_id = send(db, request(queue="q", task_key=key, priority=priority))
        db.execute("update horsies.tasks set turn_key = coalesce(task_key, '') where id = %s", (task_id,))


def test_keys_are_listed_in_their_order_with_what_waits_and_runs(db: Session) -> None:
    wait_in_turns(db, "b", "a", "a", None)
    wait_in_turns(db, "a", "c", priority=1)
    db.execute("update horsies.queues set turns = 'off'")
    send(db, request(queue="running", task_key="d"))
    fence = DrivenWorker(db, queues=["running"]).claim_one()
    db.execute("update horsies.tasks set queue = 'q', turn_key = 'd' where id = %s", (fence.task_id,))
    db.execute("update horsies.queues set turns = 'on'")
    found = [(each.key, each.waiting, each.in_flight, each.cap, each.tokens) for each in keys(db)]
    assert found == [("", 1, 0, 2, 5), ("a", 3, 0, 2, 5), ("b", 1, 0, 2, 5), ("c", 1, 0, 2, 5), ("d", 0, 1, 2, 5)]


def test_holds_are_shown_with_their_end_and_the_longest_one_counts(db: Session) -> None:
    until = NOON + timedelta(seconds=60)
    for key, kind, end in (("a", "rate_limited", until), ("b", "rate_limited", until), ("b", "paused", "infinity")):
        db.execute(
            "insert into horsies.holds values ('q', 'key', %s, %s, %s, 'ada', 'why', %s)", (key, kind, end, NOON)
        )
    db.execute("insert into horsies.holds values ('q', 'key', 'c', 'paused', %s, '', '', %s)", (NOON, NOON))
    shown = [(each.key, each.held_by, each.held_until, each.who, each.reason) for each in keys(db)]
    assert shown == [("a", "rate_limited", until, "ada", "why"), ("b", "paused", None, "ada", "why")]


@pytest.mark.parametrize(("used", "tokens"), [(0.5, 4), (1, 4), (5, 0), (60, 0)])
def test_tokens_come_from_the_bucket(db: Session, used: float, tokens: int) -> None:
    db.execute(
        "insert into horsies.buckets select 'q', 'key', 'a', r.full_from + %s * 1000000000::numeric"
        " from horsies.rate_at('q', 'key', horsies.now()) as r",
        (used,),
    )
    [found] = keys(db)
    assert (found.key, found.tokens) == ("a", tokens)


def test_pages_follow_each_other(db: Session) -> None:
    names = [f"key {number:02}" for number in range(25)]
    wait_in_turns(db, *names)
    seen: list[str] = []
    while page := keys(db, after=seen[-1] if seen else None, limit=10):
        seen += [each.key for each in page]
        assert len(page) <= 10
    assert seen == names


def test_a_queue_that_is_not_keyed_has_no_keys(db: Session) -> None:
    send(db, request(queue="plain", task_key="a"))
    assert keys(db, queue="plain") == []
    assert keys(db, queue="unknown") == []


@pytest.mark.parametrize("turns", ["off", "ending"])
def test_holds_stay_visible_when_the_app_declares_no_keys_any_more(db: Session, turns: str) -> None:
    wait_in_turns(db, "a")
    db.execute("insert into horsies.holds values ('q', 'key', 'b', 'paused', 'infinity', 'ada', 'why', %s)", (NOON,))
    DrivenWorker(db, queues=["q"]).claim_one()
    db.execute("update horsies.queues set turns = %s, has_holds = true", (turns,))
    db.execute("select horsies.update_rates('q')")
    found = {each.key: (each.cap, each.tokens, each.held_by, each.who) for each in keys(db)}
    assert found.pop("b") == (None, None, "paused", "ada")
    assert found == ({"a": (None, None, None, None)} if turns == "ending" else {})


def test_a_lifted_cap_is_not_shown(db: Session) -> None:
    wait_in_turns(db, "a")
    db.execute("update horsies.queues set lifted_limits = '{per_key,rate_per_key}'")
    db.execute("select horsies.update_rates('q')")
    assert [(each.key, each.cap, each.tokens) for each in keys(db)] == [("a", None, None)]


def test_many_waiting_tasks_of_a_key_are_counted_up_to_a_bound(db: Session) -> None:
    wait_in_turns(db, "a")
    db.execute(
        "insert into horsies.tasks (id, task_name, queue, priority, args, run_at, sent_at, fingerprint, task_key,"
        " turn_key) select md5(n::text)::uuid, 'add', 'q', 100, '{}', %s, %s, '', 'a', 'a'"
        " from generate_series(1, 2000) as n",
        (NOON, NOON),
    )
    [found] = keys(db)
    assert found.waiting == 1000
