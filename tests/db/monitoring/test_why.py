"""`why`: the reason why a task waits. One table of cases drives `why` and `claim`, so that both agree."""

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from horsies.config.retry import RetryPolicy
from horsies.db.queries import monitoring as monitoring_queries
from horsies.db.queries import tasks as task_queries
from horsies.db.queries.rows import Why
from tests.support.factories import (
    DrivenWorker,
    cap_queue,
    done,
    ended_task,
    failed,
    pause_queue,
    request,
    send,
)
from tests.support.sessions import NOON, Session, call, freeze_clock, move_clock, scalar

SCHEDULED_S = 90


def why(db: Session, task_id: UUID) -> Why:
    return call(db, monitoring_queries.why(task_id))


def fill(db: Session, queue: str, count: int) -> DrivenWorker:
    """Let a worker without caps claim ``count`` tasks of a queue. It serves no other queue."""
    worker = DrivenWorker(db, queues=[queue])
    for _ in range(count):
        send(db, request(queue=queue, priority=1))
    assert len(worker.claim(count)) == count
    return worker


def retried(db: Session) -> UUID:
    task_id = send(db, request(queue="a", retry=RetryPolicy.fixed([60], jitter=False, auto_retry_for=["BOOM"])))
    worker = DrivenWorker(db, queues=["a"])
    worker.finish(failed(worker.claim_one()))
    worker.stop()
    return task_id


type Case = Callable[[Session], UUID]
CASES: dict[str, Case] = {}


def case(make: Case) -> Case:
    """The name of the function, up to a double underscore, is the reason."""
    CASES[make.__name__] = make
    return make


@case
def next__alone(db: Session) -> UUID:
    return send(db, request(queue="a"))


@case
def next__with_room_left(db: Session) -> UUID:
    fill(db, "a", 1)
    return send(db, request(queue="a"))


@case
def next__capped_at_run_time_with_room(db: Session) -> UUID:
    cap_queue(db, "a", 3)
    fill(db, "a", 2)
    return send(db, request(queue="a"))


@case
def next__a_deadline_ahead(db: Session) -> UUID:
    return send(db, request(queue="a", good_until=NOON + timedelta(seconds=1)))


@case
def next__another_queue_is_paused_and_full(db: Session) -> UUID:
    pause_queue(db, "b")
    fill(db, "c", 1)
    return send(db, request(queue="a"))


@case
def next__a_retry_that_is_due(db: Session) -> UUID:
    task_id = retried(db)
    move_clock(db, 60)
    return task_id


@case
def scheduled(db: Session) -> UUID:
    return send(db, request(queue="a", delay=SCHEDULED_S))


@case
def retry(db: Session) -> UUID:
    return retried(db)


@case
def held(db: Session) -> UUID:
    task_id = send(db, request(queue="a"))
    db.execute("update horsies.tasks set held = true where id = %s", (task_id,))
    return task_id


@case
def overdue(db: Session) -> UUID:
    return send(db, request(queue="a", good_until=NOON))


@case
def paused(db: Session) -> UUID:
    pause_queue(db, "a")
    return send(db, request(queue="a"))


@case
def no_worker__unknown_name(db: Session) -> UUID:
    return send(db, request(queue="a", name="unheard of"))


@case
def no_worker__unserved_queue(db: Session) -> UUID:
    return send(db, request(queue="elsewhere"))


@case
def queue_full(db: Session) -> UUID:
    fill(db, "a", 2)
    return send(db, request(queue="a"))


@case
def queue_full__of_prefetched_tasks(db: Session) -> UUID:
    for _ in range(2):
        send(db, request(queue="a", priority=1))
    assert len(DrivenWorker(db, queues=["a"]).prefetch(2)) == 2
    return send(db, request(queue="a"))


@case
def queue_full__with_a_cap_of_nothing(db: Session) -> UUID:
    cap_queue(db, "a", 0)
    return send(db, request(queue="a"))


@case
def cluster_full(db: Session) -> UUID:
    fill(db, "elsewhere", 4)
    return send(db, request(queue="a"))


@pytest.mark.parametrize("name", CASES)
def test_it_says_what_claim_does(db: Session, name: str) -> None:
    freeze_clock(db)
    task_id = CASES[name](db)
    worker = DrivenWorker(db, caps={"a": 2, "b": None, "c": 1}, cluster_cap=4)
    reason = why(db, task_id).reason
    assert reason == name.split("__", maxsplit=1)[0]
    taken = {task.id for task in worker.ask(5).tasks}
    assert (task_id in taken) == (reason == "next")


def test_without_caps_and_rows_about_queues_it_says_the_same(db: Session) -> None:
    freeze_clock(db)
    for name in ("next__alone", "scheduled", "held", "overdue", "no_worker__unknown_name"):
        task_id = CASES[name](db)
        worker = DrivenWorker(db, queues=["a"])
        assert why(db, task_id).reason == name.split("__")[0]
        assert (task_id in {task.id for task in worker.ask(5).tasks}) == name.startswith("next")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("scheduled", "it is due at 2031-05-06 12:01:30 UTC"),
        ("retry", "attempt 1 failed, and it is tried again at 2031-05-06 12:01:00 UTC"),
        ("held", "its workflow run is paused"),
        ("paused", "its queue a is paused"),
        ("overdue", "it was not started by its good_until, 2031-05-06 12:00:00 UTC, and is about to expire"),
        ("no_worker__unknown_name", "no live worker registers the name unheard of"),
        (
            "no_worker__unserved_queue",
            "no live worker that registers the name add works on the queue elsewhere",
        ),
        (
            "queue_full",
            "its queue a is full, 2 are claimed and the cap is 2: add on host-1/worker, add on host-1/worker",
        ),
        ("queue_full__with_a_cap_of_nothing", "its queue a is full, 0 are claimed and the cap is 0"),
        (
            "cluster_full",
            "the cluster is full, its cap is cluster_wide_cap: add on host-1/worker, add on host-1/worker, add on host-1/worker",
        ),
        ("next__alone", "it is due, with 0 before it in its queue; live workers that may take it: 1"),
    ],
)
def test_the_sentence_names_what_there_is_to_name(db: Session, name: str, sentence: str) -> None:
    freeze_clock(db)
    task_id = CASES[name](db)
    DrivenWorker(db, caps={"a": 2}, cluster_cap=4)
    assert why(db, task_id).sentence == sentence


def test_those_that_go_before_are_counted(db: Session) -> None:
    freeze_clock(db)
    send(db, request(queue="a", delay=-10))
    send(db, request(queue="a", priority=1))
    task_id = send(db, request(queue="a"))
    send(db, request(queue="a", delay=10, priority=1))
    send(db, request(queue="b", priority=1))
    DrivenWorker(db, queues=["a"])
    assert why(db, task_id).sentence.startswith("it is due, with 2 before it")


def test_a_worker_that_is_silent_does_not_count(db: Session) -> None:
    freeze_clock(db)
    task_id = send(db)
    DrivenWorker(db, stale_after_s=10)
    assert why(db, task_id).reason == "next"
    move_clock(db, 11)
    assert why(db, task_id).reason == "no_worker"


def test_a_claimed_task_names_its_worker(db: Session) -> None:
    freeze_clock(db)
    task_id = send(db)
    worker = DrivenWorker(db)
    (fence,) = worker.prefetch(lease_s=60)
    sentence = "it waits for a free child of host-1/worker, which has claimed it until 2031-05-06 12:01:00 UTC"
    assert why(db, task_id) == Why("prefetched", sentence)
    worker.start(fence)
    assert why(db, task_id) == Why("running", "running since 2031-05-06 12:00:00 UTC, attempt 1, on host-1/worker")
    worker.finish(failed(fence))
    assert why(db, task_id) == Why("ended", "it ended FAILED with BOOM at 2031-05-06 12:00:00 UTC")


def test_other_outcomes_and_an_unknown_id_are_explained(db: Session) -> None:
    freeze_clock(db)
    assert why(db, ended_task(db)).sentence == "it ended COMPLETED at 2031-05-06 12:00:00 UTC"
    doomed = send(db)
    call(db, task_queries.cancel(doomed))
    assert why(db, doomed).sentence == "it ended CANCELLED with TASK_CANCELLED at 2031-05-06 12:00:00 UTC"
    assert why(db, uuid7()) == Why("unknown", "there is no such task, or its record was pruned")


def test_it_only_looks(db: Session) -> None:
    worker = DrivenWorker(db, caps={"default": 1})
    fence = (send(db), worker.claim_one())[1]
    assert why(db, send(db)).reason == "queue_full"
    assert worker.finish(done(fence)) == ["accepted"]
    assert scalar(db, "select count(*) from horsies.tasks where status = 'PENDING'") == 1
