"""`sample`: the samples of closed minutes are what a slow count of history and attempts finds, whatever the clock does."""

import random
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from math import ceil
from typing import Any

import pytest
from uuid_utils.compat import uuid7

from horsies.config.retry import RetryPolicy
from horsies.db.queries import monitoring as monitoring_queries
from horsies.db.queries import tasks as task_queries
from horsies.db.queries import worker as worker_queries
from horsies.monitoring.histograms import Histogram
from tests.support.factories import DrivenWorker, done, ended_task, expire, failed, reap, request, send
from tests.support.sessions import NOON, Session, call, freeze_clock, move_clock, scalar

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400
AGAIN = RetryPolicy.fixed([5, 30], jitter=False, auto_retry_for=["BOOM", "WORKER_CRASHED"])
COUNTS = ("completed", "failed", "cancelled", "expired", "retried", "crashed")

type Key = tuple[datetime, str, str]


def sample(db: Session, keep_hours: float | None = 720) -> int:
    """Sample until nothing is left, and count errors, for which minutes are kept; return the number of minutes."""
    total = 0
    while minutes := call(db, monitoring_queries.sample(keep_hours)):
        total += minutes
    assert all(iter(lambda: call(db, monitoring_queries.sample_errors()), 0))
    return total


def sampled(db: Session, period_s: int) -> dict[Key, tuple[list[int], Histogram, Histogram]]:
    rows = db.execute(
        f"select started_at, queue, task_name, {', '.join(COUNTS)}, wait_buckets, wait_counts, run_buckets, run_counts"
        " from horsies.samples where period_s = %s", (period_s,)
    ).fetchall()  # fmt: skip
    return {
        (row[0], row[1], row[2]): (list(row[3:9]), Histogram.of(row[9], row[10]), Histogram.of(row[11], row[12]))
        for row in rows
    }


class BruteForce:
    """Counts all of history and attempts by period, queue and name."""

    def __init__(self, db: Session, period_s: int) -> None:
        self.counts: dict[Key, Counter[str]] = {}
        self.waits: dict[Key, list[float]] = {}
        self.runs: dict[Key, list[float]] = {}
        self._period_s = period_s
        ended = db.execute("select queue, task_name, status, error_code, run_at, started_at, finished_at"
                           " from horsies.history").fetchall()  # fmt: skip
        for queue, name, status, code, run_at, started_at, finished_at in ended:
            self._add(finished_at, queue, name, status.lower(), is_crash=code == "WORKER_CRASHED")
            if started_at is not None:
                self._measure(self.waits, finished_at, queue, name, started_at - run_at)
                if status in {"COMPLETED", "FAILED"} and code != "WORKER_CRASHED":
                    self._measure(self.runs, finished_at, queue, name, finished_at - started_at)
        retried = db.execute(
            "select t.queue, t.task_name, a.outcome, a.started_at, a.finished_at from horsies.attempts a join"
            " (select id, queue, task_name from horsies.tasks union all select id, queue, task_name from"
            " horsies.history) t on t.id = a.task_id"
        ).fetchall()
        for queue, name, outcome, started_at, finished_at in retried:
            self._add(finished_at, queue, name, "retried", is_crash=outcome == "WORKER_FAILURE")
            if outcome != "WORKER_FAILURE":
                self._measure(self.runs, finished_at, queue, name, finished_at - started_at)

    def _key(self, at: datetime, queue: str, name: str) -> Key:
        return at - timedelta(seconds=at.timestamp() % self._period_s), queue, name

    def _add(self, at: datetime, queue: str, name: str, kind: str, *, is_crash: bool) -> None:
        self.counts.setdefault(self._key(at, queue, name), Counter()).update([kind, *["crashed"] * is_crash])

    def _measure(self, found: dict[Key, list[float]], at: datetime, queue: str, name: str, took: timedelta) -> None:
        found.setdefault(self._key(at, queue, name), []).append(took.total_seconds())


def check(db: Session, period_s: int, is_kept: Callable[[datetime], bool] = lambda _: True) -> int:
    """Compare the samples of a period with the slow count; return the number of rows."""
    found, expected = sampled(db, period_s), BruteForce(db, period_s)
    assert set(found) == {key for key in expected.counts if is_kept(key[0])}
    for key, (counts, waits, runs) in found.items():
        assert counts == [expected.counts[key][kind] for kind in COUNTS], key
        for histogram, exact in ((waits, expected.waits.get(key, [])), (runs, expected.runs.get(key, []))):
            assert histogram.total == len(exact)
            for fraction in (0.01, 0.5, 0.95, 0.99, 1.0) if exact else ():
                value = max(sorted(exact)[max(ceil(fraction * len(exact)), 1) - 1], 0.00001)
                estimate = histogram.percentile(fraction)
                assert estimate is not None
                assert 0.9 < estimate / value < 1.1
    return len(found)


class Traffic:
    """Sends, runs, fails, retries, cancels, expires and loses tasks at random."""

    def __init__(self, db: Session, seed: int) -> None:
        self.db = db
        self.dice = random.Random(seed)  # noqa: S311
        self.worker = DrivenWorker(db, queues=["default", "mail"], names=["add", "send", "fail"])
        self.held: list[Any] = []

    def step(self) -> None:
        act = self.dice.choice([self._send, self._claim, self._finish, self._finish, self._cancel, self._die])
        act()
        move_clock(self.db, self.dice.choice([0.001, 0.2, 3, 17, 40]))

    def _send(self) -> None:
        for _ in range(self.dice.randint(1, 6)):
            queue, name = self.dice.choice([("default", "add"), ("default", "fail"), ("mail", "send")])
            deadline = (
                scalar(self.db, "select horsies.now()") + timedelta(seconds=20) if self.dice.random() < 0.2 else None
            )
            send(self.db, request(uuid7(), name=name, queue=queue, retry=AGAIN, good_until=deadline))

    def _claim(self) -> None:
        self.held += self.worker.claim(self.dice.randint(1, 5))

    def _finish(self) -> None:
        self.dice.shuffle(self.held)
        count = self.dice.randint(0, len(self.held))
        ended, self.held = self.held[:count], self.held[count:]
        if ended:
            self.worker.finish(*(done(fence) if self.dice.random() < 0.6 else
                                 failed(fence, self.dice.choice(["BOOM", "BANG"])) for fence in ended))  # fmt: skip

    def _cancel(self) -> None:
        expire(self.db)
        live = [row[0] for row in self.db.execute("select id from horsies.tasks order by id limit 20").fetchall()]
        if live and self.dice.random() < 0.4:
            call(self.db, task_queries.cancel(self.dice.choice(live)))

    def _die(self) -> None:
        if self.dice.random() < 0.3:
            reap(self.db, self.worker.id)
            self.worker = DrivenWorker(self.db, queues=["default", "mail"], names=["add", "send", "fail"])
            self.held = []


@pytest.fixture(autouse=True)
def _clock(db: Session) -> None:
    freeze_clock(db)
    call(db, worker_queries.add_partitions(6))


@pytest.mark.parametrize("seed", range(3))
def test_samples_equal_a_slow_count(db: Session, seed: int) -> None:
    traffic = Traffic(db, seed)
    for _ in range(150):
        traffic.step()
        if traffic.dice.random() < 0.2:
            sample(db)
        if traffic.dice.random() < 0.02:
            move_clock(db, traffic.dice.choice([-HOUR_S / 2, -5 * MINUTE_S, 20 * MINUTE_S, 3 * HOUR_S]))
            sample(db)
    move_clock(db, 5 * HOUR_S)
    sample(db)
    assert check(db, MINUTE_S) > 10
    assert check(db, 10 * MINUTE_S) > 5
    assert check(db, HOUR_S) > 2


def test_a_late_commit_is_counted_within_three_minutes(db: Session) -> None:
    ended_task(db)
    move_clock(db, 60)
    assert sample(db) > 0
    assert sample(db) == 0
    db.execute("create temp table late as select * from horsies.history")
    db.execute("update late set id = %s", (uuid7(),))
    db.execute("insert into horsies.history select * from late")
    assert sample(db) == 0, "the minute has not changed"
    move_clock(db, 120)
    sample(db)
    [(counts, _, _)] = sampled(db, MINUTE_S).values()
    assert counts[0] == 2


def test_roll_ups_stay_when_minutes_are_deleted(db: Session) -> None:
    sample(db)
    for _ in range(30):
        ended_task(db)
        move_clock(db, 6 * HOUR_S + 7)
        sample(db)
    end = scalar(db, "select sampled_until from horsies.sampling")
    assert check(db, MINUTE_S, lambda at: at >= end - timedelta(days=1)) >= 3
    assert check(db, 10 * MINUTE_S, lambda at: at >= end - timedelta(days=7)) >= 27
    assert check(db, HOUR_S) == 30
    move_clock(db, 60)
    sample(db, keep_hours=48)
    assert len(sampled(db, HOUR_S)) == 7


def test_a_long_pause_is_made_up_in_steps(db: Session) -> None:
    sample(db)
    ended_task(db)
    move_clock(db, 30 * DAY_S)
    assert call(db, monitoring_queries.sample(None)) == 24 * 60
    assert sample(db, None) > 0
    assert check(db, HOUR_S) == 1


def test_a_clock_that_is_set_back_for_days(db: Session) -> None:
    sample(db)
    for _ in range(3):
        ended_task(db)
        move_clock(db, DAY_S)
        sample(db)
    move_clock(db, -2.5 * DAY_S)
    sample(db)
    ended_task(db)
    move_clock(db, 5 * DAY_S)
    sample(db)
    assert check(db, HOUR_S) == 4


def test_the_first_call_begins_an_hour_before(db: Session) -> None:
    ended_task(db)
    move_clock(db, 60)
    assert sample(db) == 61
    assert scalar(db, "select first_minute from horsies.sampling") == NOON - timedelta(hours=1)
    assert check(db, MINUTE_S) == 1


def reads_of_history(db: Session) -> tuple[int, int]:
    """Return how many sequential scans of history there were in this transaction, and how many rows were read."""
    [counts] = db.execute(
        "select sum(pg_stat_get_xact_numscans(c.oid))::int,"
        " sum(pg_stat_get_xact_tuples_fetched(c.oid) + pg_stat_get_xact_tuples_returned(c.oid))::int"
        " from pg_class c where c.relnamespace = 'horsies'::regnamespace and c.relname like 'history%'"
        " and c.relkind = 'r'"
    ).fetchall()
    return counts[0], counts[1]


@pytest.mark.parametrize("has_statistics", [False, True])
def test_history_is_read_by_the_block_range_index(db: Session, *, has_statistics: bool) -> None:
    """A minute reads its own rows and at most one range of 128 blocks, however long history is."""
    sample(db)
    db.execute(
        "insert into horsies.history (id, task_name, queue, priority, args, status, result, run_at, attempt, sent_at,"
        " started_at, finished_at, fingerprint) select md5(n::text)::uuid, 'add', 'default', 100,"
        " to_json(repeat('x', 800)), 'COMPLETED', '1', at, 1, at, at, at, 'x'"
        " from generate_series(1, 20000) as n cross join lateral"
        " (select %s::timestamptz - (20000 - n) * interval '2 seconds' as at) t", (NOON,))  # fmt: skip
    if has_statistics:
        db.execute("analyze horsies.history")
    db.execute("update horsies.sampling set sampled_until = %s", (NOON - timedelta(minutes=1),))
    sample(db)
    db.execute("update horsies.sampling set sampled_until = %s", (NOON - timedelta(minutes=1),))
    with db.transaction(force_rollback=True):
        before = reads_of_history(db)
        assert call(db, monitoring_queries.sample(None)) == 1
        scans, rows = (after - earlier for after, earlier in zip(reads_of_history(db), before, strict=True))
    assert scans == 0, "a sequential scan"
    assert 0 < rows < 3000
