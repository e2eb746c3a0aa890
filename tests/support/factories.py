"""Rows in consistent states, created by the server functions: sent, claimed and ended tasks, and workers."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from horsies.config.retry import RetryPolicy
from horsies.db.operations import UNSET
from horsies.db.queries import schedules as schedule_queries
from horsies.db.queries import tasks as task_queries
from horsies.db.queries import worker as worker_queries
from horsies.db.queries.rows import ScheduleState
from horsies.db.queries.tasks import EnqueueBatch, EnqueueRequest, SendAnswer, TaskKind, UniqueRequest
from horsies.db.queries.worker import Claim, Fence, Outcome, Verdict, WorkerBeats, WorkerFacts
from horsies.postponement import PostponeScope
from tests.support.sessions import Session, call

HOSTNAME = "host-1"
PID = 4711
CHILD_PID = 4712
CHILD_NAME = "host-1/child-1"


NUMBERED_AT = datetime(2025, 10, 9, 8, 53, 20, tzinfo=UTC)


def numbered_id(number: int) -> UUID:
    """Return an id in the form of a UUIDv7 of the time ``NUMBERED_AT``. A greater number sorts later."""
    return UUID(int=(int(NUMBERED_AT.timestamp() * 1000) << 80) | (7 << 76) | (2 << 62) | number)


def request(
    task_id: UUID | None = None,
    *,
    name: str = "add",
    queue: str = "default",
    priority: int = 100,
    args: bytes = b'{"a":1}',
    fingerprint: bytes = b"\x01\x02",
    delay: float = 0,
    good_until: datetime | None = None,
    retry: RetryPolicy | None = None,
    timeout_ms: int | None = None,
    key: str | None = None,
    unique: UniqueRequest | None = None,
    task_key: str | None = None,
    trace_context: bytes | None = None,
) -> EnqueueRequest:
    """Return the request of a producer: always the same task, with a new id."""
    return EnqueueRequest(
        task_id=task_id or uuid7(),
        task_name=name,
        queue=queue,
        priority=priority,
        args=args,
        fingerprint=fingerprint,
        delay=delay,
        good_until=good_until,
        retry_policy=retry.to_json() if retry else None,
        timeout_ms=timeout_ms,
        idempotency_key=key,
        unique=unique,
        key=task_key,
        trace_context=trace_context,
    )


def unique(
    until: str = "started", on_conflict: str = "keep", *, args: bytes = b'{"a":1}', max_wait: float | None = None
) -> UniqueRequest:
    """Return what a unique task must be unique in: by default, its argument ``a`` until it has started."""
    return UniqueRequest(args, until, on_conflict, max_wait)


def enqueue_once(
    session: Session, *wanted: EnqueueRequest, replay: bool = False, connection: object = UNSET
) -> list[SendAnswer]:
    """Send tasks that may have keys and may be unique."""
    return call(session, task_queries.enqueue_once(wanted, replay=replay, connection=connection))


def send_once(session: Session, wanted: EnqueueRequest, *, replay: bool = False) -> tuple[str, UUID | None]:
    """Send one task that may have a key and may be unique; return the verdict and the task that stands for it."""
    (answer,) = enqueue_once(session, wanted, replay=replay)
    return answer.verdict, answer.task_id


def batch_of(requests: Sequence[EnqueueRequest]) -> EnqueueBatch:
    """Return requests as one batch. Fingerprints are filled up to 32 bytes."""
    kinds: dict[TaskKind, int] = {}
    numbers = [kinds.setdefault(kind_of(each), len(kinds) + 1) for each in requests]
    return EnqueueBatch(
        ids="{" + ",".join(str(each.task_id) for each in requests) + "}",
        args=b"\n".join(each.args for each in requests),
        fingerprints=b"".join(each.fingerprint.ljust(32, b"\0") for each in requests),
        kind_numbers="{" + ",".join(map(str, numbers)) + "}",
        kinds=tuple(kinds),
        count=len(requests),
        task_keys=tuple(each.key for each in requests),
        trace_context=requests[0].trace_context if requests else None,
    )


def kind_of(wanted: EnqueueRequest) -> TaskKind:
    """Return what a request has in common with others of the same task and options."""
    return TaskKind(
        wanted.task_name,
        wanted.queue,
        wanted.priority,
        wanted.delay,
        wanted.good_until,
        wanted.retry_policy,
        wanted.timeout_ms,
    )


def enqueue(session: Session, wanted: EnqueueRequest, *, replay: bool = False) -> str:
    """Send a task; return ``sent``, ``known`` or ``mismatch``."""
    return call(session, task_queries.enqueue(wanted, replay=replay))


def send(session: Session, wanted: EnqueueRequest | None = None) -> UUID:
    """Send a task, and require that it is accepted."""
    wanted = wanted or request()
    assert enqueue(session, wanted) == "sent"
    return wanted.task_id


def send_many(session: Session, count: int, *, queue: str = "default", delay: float = 0, first: int = 0) -> None:
    """Send the same task many times in one statement, with the `numbered_id`s from ``first`` on."""
    session.execute(
        "select horsies.enqueue((%s || lpad(to_hex(n), 12, '0'))::uuid, 'add', %s, 100, '{}', 'x', %s, null, null,"
        " null, false) from generate_series(%s::int, %s::int) as n",
        (str(numbered_id(0))[:24], queue, delay, first, first + count - 1),
    )


def done(fence: Fence, result: bytes = b"1") -> Outcome:
    """Return the outcome of a successful attempt."""
    return _outcome(fence, result, None, None)


def failed(fence: Fence, code: str = "BOOM", *, retry_after: float | None = None) -> Outcome:
    """Return the outcome of a failed attempt."""
    error = json.dumps({"error_code": code, "message": "it failed", "data": None, "exception": None}).encode()
    return _outcome(fence, error, code, retry_after)


def postponed(
    fence: Fence, seconds: float = 30, scope: PostponeScope = PostponeScope.TASK, *, code: str = "RATE_LIMITED"
) -> Outcome:
    """Return the outcome of an attempt that asks to run again later."""
    message = f"rate limited for {seconds:g} s"
    error = json.dumps({"error_code": code, "message": message, "data": None, "exception": None}).encode()
    return _outcome(fence, error, code, seconds)._replace(postponed=scope)


def _outcome(fence: Fence, result: bytes, code: str | None, retry_after: float | None) -> Outcome:
    return Outcome(fence, code is None, result, code, retry_after, CHILD_PID, CHILD_NAME)


class DrivenWorker:
    """A registered worker that the test drives, call by call. It runs no tasks."""

    def __init__(
        self,
        session: Session,
        *,
        queues: Sequence[str] = ("default",),
        names: Sequence[str] = ("add",),
        stale_after_s: float = 300,
        caps: Mapping[str, int | None] | None = None,
        cluster_cap: int | None = None,
    ) -> None:
        """Register the worker. If ``caps`` is given, its keys are the queues."""
        self.session = session
        self.caps = dict.fromkeys(queues) if caps is None else dict(caps)
        self.cluster_cap = cluster_cap
        self.queues = tuple(queues if caps is None else caps)
        self.names = tuple(names)
        self.id = uuid7()
        self.exchange_no = 0
        self.cursors: bytes | None = None
        call(session, worker_queries.worker_start(self.id, self.facts(stale_after_s)))

    def facts(self, stale_after_s: float) -> WorkerFacts:
        """Return the facts that the worker registers."""
        return WorkerFacts(
            hostname=HOSTNAME,
            pid=PID,
            process_name="host-1/worker",
            boot_id="boot-1",
            pid_namespace="4026531836",
            process_start="123456",
            library_version="0.1.0",
            processes=2,
            concurrency=1,
            queues=self.caps,
            cluster_cap=self.cluster_cap,
            task_names=self.names,
            stale_after_s=stale_after_s,
        )

    def ask(self, wanted: int = 1, *, free: int | None = None, lease_s: float | None = None) -> Claim:
        """Claim tasks in a separate exchange. Default of ``free``: ``wanted``."""
        self.exchange_no += 1
        free = wanted if free is None else free
        asked = worker_queries.claim(
            self.id,
            self.exchange_no,
            wanted,
            self.queues,
            self.names,
            free=free,
            lease_s=lease_s,
            cursors=self.cursors,
        )
        claim = call(self.session, asked)
        self.cursors = claim.cursors
        return claim

    def claim(self, wanted: int = 1) -> list[Fence]:
        """Claim tasks, and return their fences."""
        return [Fence(task.id, self.exchange_no) for task in self.ask(wanted).tasks]

    def prefetch(self, wanted: int = 1, lease_s: float = 60) -> list[Fence]:
        """Claim tasks with a lease, without starting them."""
        return [Fence(task.id, self.exchange_no) for task in self.ask(wanted, free=0, lease_s=lease_s).tasks]

    def start(self, *fences: Fence) -> dict[UUID, int]:
        """Start prefetched tasks; return the number of the attempt for each task that may start."""
        return call(self.session, worker_queries.start(self.id, fences))

    def claim_one(self) -> Fence:
        """Claim one task, which must be available."""
        (fence,) = self.claim()
        return fence

    def finish(self, *outcomes: Outcome) -> list[str]:
        """Write outcomes; return the verdicts in their order."""
        return [verdict.verdict for verdict in self.finish_in_full(*outcomes)]

    def finish_in_full(self, *outcomes: Outcome) -> list[Verdict]:
        """Write outcomes; return the complete replies of the database in their order."""
        verdicts = call(self.session, worker_queries.finish(self.id, HOSTNAME, outcomes))
        return [verdicts[outcome.fence.task_id] for outcome in outcomes]

    def release(self, *fences: Fence) -> set[UUID]:
        """Return claims to the queue; return the tasks whose rows another transaction holds."""
        return call(self.session, worker_queries.release(self.id, fences))

    def reconcile(self, *held: Fence) -> set[UUID]:
        """Reconcile the held claims; return the tasks that are lost."""
        return call(self.session, worker_queries.reconcile(self.id, held, self.exchange_no))

    def heartbeat(self, ahead_s: float | None = None) -> bool:
        """Send a heartbeat with the number of seconds by which the worker's clock is ahead."""
        return call(self.session, worker_queries.heartbeat(self.id, ahead_s))[0]

    def stop(self) -> None:
        """Deregister the worker."""
        call(self.session, worker_queries.worker_stop(self.id))


def prefetch(session: Session, fence: Fence) -> None:
    """Turn a claim into a prefetched one by changing its row directly."""
    session.execute(
        "update horsies.tasks set status = 'CLAIMED', started_at = null, attempt = attempt - 1 where id = %s",
        (fence.task_id,),
    )


def pause_queue(session: Session, name: str) -> None:
    """Pause a queue."""
    session.execute("insert into horsies.queues (name, paused) values (%s, true)", (name,))


def cap_queue(session: Session, name: str, most: int | None) -> None:
    """Override the cap that workers declare; None removes the override."""
    session.execute("delete from horsies.queues where name = %s", (name,))
    if most is not None:
        session.execute("insert into horsies.queues (name, max_concurrency) values (%s, %s)", (name, most))


def ended_task(session: Session, wanted: EnqueueRequest | None = None) -> UUID:
    """Create a task that was sent, claimed by a separate worker, and completed; return its id."""
    wanted = wanted or request()
    send(session, wanted)
    worker = DrivenWorker(session, queues=(wanted.queue,), names=(wanted.task_name,))
    assert worker.finish(done(worker.claim_one())) == ["accepted"]
    worker.stop()
    return wanted.task_id


def reap(session: Session, proven_dead: UUID | None = None, most: int = 1000) -> worker_queries.ReapCounts:
    """Recover the tasks of a dead worker, and of those that were declared dead before."""
    return call(session, worker_queries.reap(proven_dead, most))


def beats(session: Session, worker: DrivenWorker) -> WorkerBeats:
    """The heartbeats of a worker that is alive."""
    return next(each for each in call(session, worker_queries.worker_beats()) if each.worker_id == worker.id)


def reap_silent(session: Session, silent: WorkerBeats, most: int = 1000) -> worker_queries.ReapCounts | None:
    """Declare a worker dead that was seen silent, and recover its tasks."""
    return call(session, worker_queries.reap_silent(silent, most))


def expire(session: Session, most: int = 1000) -> int:
    """Expire tasks that were not started in time."""
    return call(session, worker_queries.expire(most))


def define(
    session: Session, name: str = "nightly", *, due: datetime | None = None, config_hash: str = "h1", **wanted: Any
) -> None:
    """Define a schedule that sends the task of `request`, the first time at ``due``."""
    words = "At 03:00 every day"
    call(
        session,
        schedule_queries.schedule_define(name, config_hash, words, "UTC", request(**wanted), first_due=due),
    )


def tick(
    session: Session,
    due: datetime,
    due_times: Sequence[datetime],
    following: datetime,
    *,
    name: str = "nightly",
    config_hash: str = "h1",
) -> int | None:
    """Send a schedule's tasks for some due times, as a scheduler does."""
    return call(session, schedule_queries.schedule_tick(name, config_hash, due, due_times, following))


def schedule_state(session: Session, name: str = "nightly") -> ScheduleState:
    """Return the state of a schedule in the database."""
    return call(session, schedule_queries.schedule_states())[1][name]


def count_of_a_worker(session: Session) -> None:
    """Let a worker have counted three completed and two failed tasks in a minute that has not ended."""
    session.execute(
        "insert into horsies.sampling (first_minute, sampled_until)"
        " select date_trunc('minute', now()) - interval '1 hour', date_trunc('minute', now())"
    )
    session.execute(
        "insert into horsies.current_counts"
        " select md5(random()::text)::uuid, date_trunc('minute', now()), 'default', 'add', 3, 2, 0"
    )
