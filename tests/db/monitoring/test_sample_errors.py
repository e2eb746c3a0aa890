"""`sample_errors`: the counts of error groups are what a slow count of all failed attempts finds."""

import itertools
import json
import random
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest
from uuid_utils.compat import uuid7

from horsies.config.retry import RetryPolicy
from horsies.db.queries import monitoring as monitoring_queries
from horsies.db.queries import worker as worker_queries
from horsies.db.queries.worker import Fence, Outcome
from tests.support.factories import CHILD_NAME, CHILD_PID, DrivenWorker, done, ended_task, reap, request, send
from tests.support.sessions import NOON, Session, call, freeze_clock, move_clock, scalar

HOUR_S = 3600
AGAIN = RetryPolicy.fixed([5, 30], jitter=False, auto_retry_for=["BOOM", "WORKER_CRASHED"])
MESSAGES = ["order 17 failed", "a\0b", "\ud800", "\x1b[31m", "plain", None, "x" * 5000]

type Key = tuple[datetime, str, str, str]


@pytest.fixture(autouse=True)
def _clock(db: Session) -> None:
    freeze_clock(db)
    call(db, worker_queries.add_partitions(6))


def sample(db: Session, keep_hours: float | None = 720) -> None:
    only_sample(db, keep_hours)
    count_errors(db)


def only_sample(db: Session, keep_hours: float | None = None) -> None:
    assert all(iter(lambda: call(db, monitoring_queries.sample(keep_hours)), 0))


def count_errors(db: Session) -> None:
    assert all(iter(lambda: call(db, monitoring_queries.sample_errors()), 0))


def failure(fence: Fence, code: str, message: str | None, function: str | None = None) -> Outcome:
    trace = None if function is None else {"traceback": f'  File "/srv/shop/mail.py", line 3, in {function}\n\0'}
    error = json.dumps({"error_code": code, "message": message, "data": None, "exception": trace}).encode()
    return Outcome(fence, False, error, code, None, CHILD_PID, CHILD_NAME)


def counted(db: Session, period_s: int) -> Counter[Key]:
    """Return the counts by period, task, code and version of the app."""
    rows = db.execute(
        "select c.started_at, g.task_name, g.error_code, c.app_version, sum(c.number)::int from horsies.error_counts c"
        " join horsies.error_groups g on g.id = c.group_id where c.period_s = %s group by 1, 2, 3, 4", (period_s,)
    ).fetchall()  # fmt: skip
    return Counter({row[:4]: row[4] for row in rows})


def slow_count(db: Session, period_s: int) -> Counter[Key]:
    """Count all failed attempts in history and attempts."""
    rows = db.execute(
        "select f.finished_at, f.task_name, f.error_code, coalesce(v.app_version, '') from ("
        " select task_name, error_code, worker_id, finished_at from horsies.history where status = 'FAILED'"
        " union all select t.task_name, a.error_code, a.worker_id, a.finished_at from horsies.attempts a join"
        " (select id, task_name from horsies.tasks union all select id, task_name from horsies.history) t"
        " on t.id = a.task_id) f left join horsies.worker_versions v on v.worker_id = f.worker_id"
    ).fetchall()
    return Counter((at - timedelta(seconds=at.timestamp() % period_s), *rest) for at, *rest in rows)


class Traffic:
    """Sends, completes, fails, retries and loses tasks at random, with workers of two versions of the app."""

    def __init__(self, db: Session, seed: int) -> None:
        self.db = db
        self.dice = random.Random(seed)  # noqa: S311
        self.versions = itertools.cycle(["1", "2"])
        self._start()

    def _start(self) -> None:
        self.worker = DrivenWorker(self.db, names=["add", "send"])
        version = next(self.versions)
        self.db.execute("update horsies.worker_versions set app_version = %s where worker_id = %s",
                        (version, self.worker.id))  # fmt: skip
        self.held: list[Fence] = []

    def step(self) -> None:
        self.dice.choice([self._send, self._claim, self._finish, self._finish, self._die])()
        move_clock(self.db, self.dice.choice([0.001, 0.2, 3, 17, 40]))

    def _send(self) -> None:
        for _ in range(self.dice.randint(1, 6)):
            send(self.db, request(uuid7(), name=self.dice.choice(["add", "send"]), retry=AGAIN))

    def _claim(self) -> None:
        self.held += self.worker.claim(self.dice.randint(1, 5))

    def _finish(self) -> None:
        self.dice.shuffle(self.held)
        count = self.dice.randint(0, len(self.held))
        ended, self.held = self.held[:count], self.held[count:]
        outcomes = [self._outcome(fence) for fence in ended]
        if outcomes:
            self.worker.finish(*outcomes)
            assert self.worker.finish(*outcomes) == ["duplicate"] * len(outcomes), "each counts once"

    def _outcome(self, fence: Fence) -> Outcome:
        if self.dice.random() < 0.3:
            return done(fence)
        return failure(fence, self.dice.choice(["BOOM", "BANG"]), self.dice.choice(MESSAGES), self.dice.choice("fg"))

    def _die(self) -> None:
        if self.held and self.dice.random() < 0.5:
            reap(self.db, self.worker.id)
            self._start()


@pytest.mark.parametrize("seed", range(3))
def test_counts_equal_a_slow_count(db: Session, seed: int) -> None:
    traffic = Traffic(db, seed)
    for _ in range(120):
        traffic.step()
        if traffic.dice.random() < 0.2:
            sample(db)
        if traffic.dice.random() < 0.03:
            move_clock(db, traffic.dice.choice([-HOUR_S / 2, -300, 1200, 3 * HOUR_S]))
            sample(db)
    move_clock(db, 5 * HOUR_S)
    sample(db)
    for period_s in (60, HOUR_S):
        found = counted(db, period_s)
        assert found == slow_count(db, period_s)
    assert {key[2] for key in found} == {"BOOM", "BANG", "WORKER_CRASHED"}
    assert {key[3] for key in found} == {"1", "2"}


def fail_once(db: Session, message: str | None, *, code: str = "BANG", function: str | None = "f") -> Any:
    worker = DrivenWorker(db)
    task_id = send(db)
    worker.finish(failure(worker.claim_one(), code, message, function))
    worker.stop()
    return task_id


def test_a_group_has_its_first_and_last_failure_and_an_example(db: Session) -> None:
    fail_once(db, "order 17 failed")
    move_clock(db, 90)
    last = fail_once(db, "order 18 failed")
    move_clock(db, 60)
    sample(db)
    rows = db.execute("select frame, message, first_seen, last_seen, example_id from horsies.error_groups").fetchall()
    assert rows == [("/srv/shop/mail.py in f", "order # failed", NOON, NOON + timedelta(seconds=90), last)]
    assert scalar(db, "select errors_since from horsies.sampling") == NOON - timedelta(hours=1)


def test_a_late_commit_is_counted_within_three_minutes(db: Session) -> None:
    fail_once(db, "no")
    move_clock(db, 60)
    sample(db)
    db.execute("create temp table late as select * from horsies.history")
    db.execute("update late set id = %s", (uuid7(),))
    db.execute("insert into horsies.history select * from late")
    move_clock(db, 120)
    sample(db)
    assert sum(counted(db, 60).values()) == sum(counted(db, HOUR_S).values()) == 2


def test_a_minute_that_has_not_changed_is_not_counted_again(db: Session) -> None:
    fail_once(db, "no")
    move_clock(db, 60)
    sample(db)
    before = db.execute("select xmin::text, ctid::text from horsies.error_counts").fetchall()
    move_clock(db, 60)
    sample(db)
    assert db.execute("select xmin::text, ctid::text from horsies.error_counts").fetchall() == before


def test_counts_and_groups_are_deleted_with_the_samples(db: Session) -> None:
    sample(db, None)
    fail_once(db, "early")
    move_clock(db, 30 * HOUR_S)
    fail_once(db, "late")
    move_clock(db, 60)
    sample(db, None)
    assert len(counted(db, HOUR_S)) == 2
    move_clock(db, 60)
    sample(db, None)
    assert [key[0] for key in counted(db, 60)] == [NOON + timedelta(hours=30)]
    move_clock(db, 60)
    sample(db, 24)
    assert [key[0] for key in counted(db, HOUR_S)] == [NOON + timedelta(hours=30)]
    assert db.execute("select message from horsies.error_groups").fetchall() == [("late",)]


def test_without_failures_history_is_not_read(db: Session) -> None:
    ended_task(db)
    move_clock(db, 60)
    only_sample(db)
    reads = "select sum(pg_stat_get_xact_tuples_fetched(c.oid))::int from pg_class c where c.relkind = 'r'"
    reads += " and c.relnamespace = 'horsies'::regnamespace and c.relname ~ '^history'"
    with db.transaction():
        before = scalar(db, reads)
        assert call(db, monitoring_queries.sample_errors()) == 0
        assert scalar(db, "select errors_until from horsies.sampling") == NOON + timedelta(minutes=1)
        assert scalar(db, reads) == before


def fail_many(db: Session, count: int, code: str, *, name: str = "add", second: float = 0) -> None:
    """Write failures of the minute at noon into history, each with a message that has a group of its own."""
    db.execute(
        "insert into horsies.history (id, task_name, queue, priority, args, status, result, error_code, run_at, attempt,"
        " sent_at, started_at, finished_at, fingerprint) select md5(random()::text)::uuid, %(name)s, 'default', 100, '[]',"
        " 'FAILED', json_build_object('message', chr(96 + n)), %(code)s, at, 1, at, at, at, 'x'"
        " from (select n, %(second)s + n * interval '1 ms' as at from generate_series(1, %(count)s) as n) as each",
        {"name": name, "code": code, "count": count, "second": NOON + timedelta(seconds=second)},
    )


def analysed(db: Session) -> dict[tuple[str, str], list[str]]:
    """Return the messages of the groups by task and code."""
    rows = db.execute(
        'select task_name, error_code, array_agg(message order by message collate "C")'
        " from horsies.error_groups group by 1, 2"
    ).fetchall()
    return {(name, code): messages for name, code, messages in rows}


def test_few_errors_of_a_burst_are_read_and_all_are_counted(db: Session) -> None:
    """Each combination of task and code has an equal share; a combination with fewer failures leaves the rest."""
    fail_many(db, 9, "BOOM")
    fail_many(db, 2, "BANG", second=30)
    fail_many(db, 9, "BANG", name="send", second=40)
    move_clock(db, 60)
    only_sample(db)
    assert scalar(db, "select horsies.sample_errors(10)") == 1
    assert analysed(db) == {
        ("add", "BOOM"): ["(not analysed)", *"abcd"],
        ("add", "BANG"): ["a", "b"],
        ("send", "BANG"): ["(not analysed)", *"abcd"],
    }
    for period_s in (60, HOUR_S):
        assert counted(db, period_s) == slow_count(db, period_s)
    assert scalar(db, "select count(*)::int from horsies.error_counts where period_s = 60") == 12


def test_no_more_errors_are_read_when_the_time_is_up(db: Session) -> None:
    fail_many(db, 9, "BOOM")
    move_clock(db, 60)
    only_sample(db)
    assert scalar(db, "select horsies.sample_errors(10, 0)") == 1
    assert analysed(db) == {("add", "BOOM"): ["(not analysed)"]}
    assert counted(db, 60) == slow_count(db, 60)


def test_a_call_counts_few_minutes_and_the_next_call_goes_on(db: Session) -> None:
    """A minute of many failures is counted by a separate call, and so is one that is far from the first."""
    fail_many(db, 15_000, "BOOM")
    for minute in (1, 2, 40):
        fail_many(db, 5, "BANG", second=60 * minute)
    move_clock(db, 41 * 60)
    only_sample(db)
    steps = []
    while minutes := call(db, monitoring_queries.sample_errors()):
        steps.append((minutes, scalar(db, "select errors_until from horsies.sampling") - NOON))
    assert steps == [(1, timedelta(minutes=1)), (2, timedelta(minutes=40)), (1, timedelta(minutes=41))]
    assert counted(db, 60) == slow_count(db, 60)
    assert sum(number for key, number in counted(db, HOUR_S).items() if key[2] == "BOOM") == 15_000


def test_minutes_whose_errors_are_not_counted_yet_are_kept(db: Session) -> None:
    """Errors that were counted late are counted by minutes and hours alike, even days later."""
    fail_many(db, 3, "BOOM")
    move_clock(db, 60)
    call(db, monitoring_queries.sample(None))
    move_clock(db, 3 * 24 * HOUR_S)
    only_sample(db)
    assert scalar(db, "select count(*)::int from horsies.samples where period_s = 60") == 1
    count_errors(db)
    assert counted(db, 60) == slow_count(db, 60)
    move_clock(db, 60)
    sample(db)
    assert counted(db, 60) == Counter()
    assert counted(db, HOUR_S) == slow_count(db, HOUR_S)
