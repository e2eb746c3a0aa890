"""Random sends, and random actions of a worker, in the database and in the model, which are compared after each step."""

import json
from collections import Counter
from collections.abc import Sequence
from copy import deepcopy
from datetime import timedelta
from random import Random
from typing import Any
from uuid import UUID

import pytest
from psycopg import errors

from horsies import (
    Err,
    PostgresConfig,
    TaskHandle,
    TaskSendError,
    TaskSendErrorCode,
    TaskSendResult,
    Unique,
)
from horsies.db.queries import worker as worker_queries
from horsies.db.queries.declarations import register_tasks
from horsies.db.queries.worker import Fence
from horsies.producer import batches
from horsies.producer.send import SendRequest, TaskSendOptions, _enqueue, prepare
from horsies.tasks.declarations import declarations_of
from tests.producer import shop as shops
from tests.support.factories import DrivenWorker, done, expire, failed
from tests.support.once_model import Model, Refusal, SendOf, Task
from tests.support.sessions import NOON, Session, call, column, freeze_clock, move_clock, scalar

DECLARED = {
    "add": None,
    "retried": None,
    "joined": Unique(by=("a",), until="ended", on_conflict="replace", max_wait=60),
    "rejected": Unique(on_conflict="reject"),
}
"""The uniqueness that the app declares for each task."""

_UNIQUES = [
    Unique(by, until, on_conflict, max_wait)
    for by in (("a",), None)
    for until in ("started", "ended")
    for on_conflict, max_wait in (("keep", None), ("reject", None), ("replace", None), ("replace", 20))
]
_KEYS = ("k1", "k2", "k3")
_WEIGHTS = {
    "send": 6,
    "schedule": 2,
    "send_many": 3,
    "send_from_sql": 3,
    "lose_answer": 3,
    "replay": 3,
    "claim": 5,
    "start": 2,
    "release": 1,
    "finish": 6,
    "cancel": 2,
    "move_clock": 4,
    "expire": 1,
    "prune": 1,
}
_LIVE = """
    select id::text, task_name, args::text, status, priority, run_at, good_until, holds_unique, attempt
    from horsies.tasks
"""
_SEND = """
    select horsies.send(%s, %s::json, priority => %s, delay => make_interval(secs => %s), good_until => %s,
                        idempotency_key => %s)::text
"""


class SendsSideBySide:
    """An app and its database, and the model.

    Attributes:
        done: How often each operation was made.
    """

    def __init__(self, db: Session, url: str) -> None:
        self.done: Counter[str] = Counter()
        self._db = db
        freeze_clock(db)
        shop = shops.Shop(PostgresConfig(database_url=url))
        self._app = shop.app
        self._tasks: dict[str, Any] = {"add": shop.add, "retried": shop.retried}
        for name in ("joined", "rejected"):
            self._tasks[name] = shop.app.task(name, unique=DECLARED[name])(shops.add)
        call(db, register_tasks(None, declarations_of(shop.app.config, shop.app.registry)))
        self._worker = DrivenWorker(db, names=tuple(DECLARED))
        self.begin(Random(0))  # noqa: S311 - to be repeated

    def begin(self, random: Random) -> None:
        """Remove all tasks, and begin again with a model of the empty state."""
        tables = ("tasks", "idempotency_keys", "replacements", "history", "attempts")
        self._db.execute("truncate " + ", ".join(f"horsies.{each}" for each in tables))
        self._db.execute("delete from horsies.clock")
        freeze_clock(self._db)
        self._random = random
        self._model = Model()
        self._known: set[str] = set()
        self._fences: dict[str, Fence] = {}
        self._lost: list[tuple[TaskSendError, SendOf]] = []
        self._digests: dict[Any, str] = {}

    def close(self) -> None:
        """Close the app."""
        self._app.close()

    def step(self) -> None:
        """Make a random operation, and compare."""
        [operation] = self._random.choices(list(_WEIGHTS), list(_WEIGHTS.values()))
        self.done[operation] += 1
        getattr(self, f"_{operation}")()
        self._compare()

    # Sends

    def _random_send(self) -> SendOf:
        random = self._random
        name = random.choice(list(DECLARED))
        args = {"a": random.randint(1, 3), **random.choice([{}, {"b": 2}, {"b": 3}])}
        deadline = self._model.now + random.choice([1, 10, 100])
        return SendOf(
            name,
            args,
            delay=random.choice([0, 0, 0, 5, 30]),
            priority=random.choice([100, 100, 5]),
            good_until=random.choice([None, None, deadline]),
            key=random.choice([None, None, None, *_KEYS]),
            unique=random.choice([DECLARED[name], DECLARED[name], None, random.choice(_UNIQUES)]),
        )

    def _options(self, sent: SendOf) -> dict[str, Any]:
        options: dict[str, Any] = {"delay": sent.delay, "priority": sent.priority, "idempotency_key": sent.key}
        if sent.good_until is not None:
            options["good_until"] = NOON + timedelta(seconds=sent.good_until)
        if sent.unique != DECLARED[sent.name]:
            options["unique"] = sent.unique
        return options

    def _send(self) -> None:
        sent = self._random_send()
        sender = self._tasks[sent.name].with_options(**self._options(sent))
        self._agree(self._model.send(sent), sender.send(**sent.args))

    def _schedule(self) -> None:
        sent = self._random_send()
        options = self._options(sent)
        delay = options.pop("delay")
        sender = self._tasks[sent.name].with_options(**options)
        self._agree(self._model.send(sent), sender.schedule(delay, **sent.args))

    def _send_many(self) -> None:
        sends = [self._random_send() for _ in range(self._random.randint(1, 6))]
        calls = [self._tasks[each.name].args(**each.args).with_options(**self._options(each)) for each in sends]
        trial = deepcopy(self._model)
        expected = trial.send_many(sends)
        batches.MOST_TASKS = self._random.choice([2, 100])
        try:
            sent = self._app.send_many(calls)
        finally:
            batches.MOST_TASKS = 10_000
        if isinstance(sent, Err):
            refusals = [(each.code, each.item) for each in expected if isinstance(each, Refusal)]
            assert (sent.error.code.value, sent.error.item_index) in refusals
            return
        self._model = trial
        for task, handle in zip(expected, sent.value, strict=True):
            assert isinstance(task, Task)
            self._identify(task, handle.task_id)

    def _send_from_sql(self) -> None:
        sent = self._random_send()
        if sent.unique != DECLARED[sent.name]:
            return
        deadline = None if sent.good_until is None else NOON + timedelta(seconds=sent.good_until)
        params = (sent.name, json.dumps(sent.args), sent.priority, sent.delay, deadline, sent.key)
        answer = self._model.send(sent)
        if isinstance(answer, Task):
            self._identify(answer, scalar(self._db, _SEND, *params))
        else:
            message = {"PAYLOAD_MISMATCH": "which has other arguments", "DUPLICATE": "already, as the task"}
            with pytest.raises(errors.UniqueViolation, match=message[answer.code]) as failure:
                scalar(self._db, _SEND, *params)
            assert str(answer.task.id) in str(failure.value)

    def _lose_answer(self) -> None:
        """Send, and keep what could replay the send."""
        sent = self._random_send()
        options = TaskSendOptions(**self._options(sent))
        definition = self._tasks[sent.name].definition
        request = SendRequest(definition, "send", options, (), sent.args)
        payload = prepare(self._app.producer, request).unwrap()
        request_id = str(payload.request.task_id)
        answer = self._model.send(sent, request_id)
        given = self._app._drivers.run(_enqueue(payload, self._tasks[sent.name].handle, replay=False))
        self._agree(answer, given)
        self._lost.append((TaskSendError(TaskSendErrorCode.ENQUEUE_FAILED, "", True, request_id, payload), sent))

    def _replay(self) -> None:
        if self._lost:
            error, sent = self._random.choice(self._lost)
            answer = self._model.send(sent, error.task_id, replay=True)
            self._agree(answer, self._tasks[sent.name].retry_send(error))

    def _agree(self, answer: Task | Refusal, given: TaskSendResult[TaskHandle[Any]]) -> None:
        if isinstance(given, Err):
            assert isinstance(answer, Refusal), given.error
            assert (given.error.code.value, given.error.task_id) == (answer.code, answer.task.id)
        else:
            assert isinstance(answer, Task), answer
            self._identify(answer, given.value.task_id)

    def _identify(self, task: Task, task_id: str) -> None:
        if task.id is None:
            assert task_id not in self._known, "another task"
            task.id = task_id
        assert task.id == task_id
        self._known.add(task_id)

    # A worker

    def _held(self, status: str) -> list[Task]:
        return [each for each in self._model.live if each.status == status and each.id in self._fences]

    def _claim(self) -> None:
        wanted, prefetched = self._random.randint(1, 5), self._random.random() < 0.3
        fences = self._worker.prefetch(wanted) if prefetched else self._worker.claim(wanted)
        due = sorted(self._model.claimable(), key=lambda each: (each.sent.priority, each.run_at, each.id))[:wanted]
        assert {str(each.task_id) for each in fences} == {each.id for each in due}
        for task in due:
            self._model.claim(task, prefetched=prefetched)
        self._fences |= {str(each.task_id): each for each in fences}

    def _start(self) -> None:
        tasks = self._held("CLAIMED")
        started = self._worker.start(*(self._fences[str(each.id)] for each in tasks))
        for task in tasks:
            starts = self._model.start(task)
            assert (UUID(task.id) in started) is starts
            if not starts:
                del self._fences[str(task.id)]

    def _release(self) -> None:
        for task in self._held("CLAIMED"):
            self._worker.release(self._fences.pop(str(task.id)))
            task.status = "PENDING"

    def _finish(self) -> None:
        running = self._held("RUNNING")
        if not running:
            return
        task, fails = self._random.choice(running), self._random.random() < 0.5
        fence = self._fences.pop(str(task.id))
        assert self._worker.finish((failed if fails else done)(fence)) == ["accepted"]
        if fails:
            self._model.fail(task, has_retries=task.sent.name == "retried")
        else:
            self._model.end(task, "COMPLETED")

    # Everything else

    def _cancel(self) -> None:
        if self._model.live:
            task = self._random.choice(self._model.live)
            assert self._app.handle(str(task.id)).cancel().unwrap()
            self._model.end(task, "CANCELLED")
            self._fences.pop(str(task.id), None)

    def _move_clock(self) -> None:
        seconds = self._random.choice([1, 1, 5, 5, 10, 30, 100, 40_000])
        move_clock(self._db, seconds)
        self._model.now += seconds

    def _expire(self) -> None:
        expire(self._db)
        self._model.expire()

    def _prune(self) -> None:
        hours = self._random.choice([0, 0, 12, 30])
        while call(self._db, worker_queries.prune(hours)) > 0:
            self.done["prunes that deleted"] += 1
        self._model.prune(hours * 3_600)

    def _compare(self) -> None:
        rows = self._db.execute(_LIVE).fetchall()
        live = {row[0]: self._comparable(row) for row in rows}
        assert live == {each.id: self._expected(each) for each in self._model.live}
        assert len(live) == len(rows)
        keys = self._db.execute("select task_name, key, task_id::text from horsies.idempotency_keys").fetchall()
        assert {(name, key): task_id for name, key, task_id in keys} == {
            key: task.id for key, (task, _) in self._model.keys.items()
        }
        ended = self._db.execute("select id::text, status from horsies.history").fetchall()
        assert sorted(ended) == sorted((str(each.id), each.status) for each in self._model.ended)

    def _comparable(self, row: Sequence[Any]) -> Any:
        _, name, args, status, priority, run_at, good_until, holder, attempt = row
        return name, json.loads(args), status, priority, run_at, good_until, holder, attempt

    def _expected(self, task: Task) -> Any:
        """Return the row of a task. The digest of what it holds is always the same for the same arguments."""
        sent, holder = task.sent, None
        if task.holder is not None:
            found = column(self._db, "select holds_unique from horsies.tasks where id = %s", task.id)
            digest = str((found or [None])[0])
            holder = self._digests.setdefault((sent.name, task.holder), digest)
            assert holder.startswith(f"{task.holder[0]}:")
            assert list(self._digests.values()).count(holder) <= len(DECLARED)
        good_until = None if sent.good_until is None else NOON + timedelta(seconds=sent.good_until)
        run_at = NOON + timedelta(seconds=task.run_at)
        return sent.name, sent.args, task.status, sent.priority, run_at, good_until, holder, task.attempt
