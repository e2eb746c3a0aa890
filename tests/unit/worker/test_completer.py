"""Outcomes wait for confirmation, in bounded batches and bounded memory."""

from uuid import UUID, uuid4

import pytest

from horsies.config.payload import PayloadPolicy
from horsies.db.queries.worker import Fence, Outcome, Verdict
from horsies.worker.attempt_log import AttemptLog, LogDetail
from horsies.worker.completer import MAX_BATCH_BYTES, MAX_BATCH_OUTCOMES, MAX_HELD_BYTES, Completer
from horsies.worker.exchange_state import NO_REQUEST, ExchangeBatch
from horsies.worker.ipc import Job


def new_completer() -> Completer:
    return Completer(AttemptLog(LogDetail.PRODUCTION, PayloadPolicy()))


def outcome(size: int = 4) -> Outcome:
    return Outcome(Fence(uuid4(), 1), True, b"0" * size, None, None, 1, "w/0", 1.0)


def add(completer: Completer, *outcomes: Outcome, makes_work: bool = False, queue_limited: bool = False) -> None:
    for each in outcomes:
        job = Job(each.fence, 1, "send_email", "emails", b"{}", queue_limited=queue_limited)
        completer.add(job, each, makes_work=makes_work)


def verdicts(batch: ExchangeBatch, verdict: str = "accepted") -> dict[UUID, Verdict]:
    return {each.fence.task_id: Verdict(verdict, None, None) for each in batch.outcomes}


def taken(completer: Completer) -> ExchangeBatch:
    part = completer.take()
    return ExchangeBatch(NO_REQUEST, part.outcomes, {}, [], part.freed_queues, part.makes_work, 1, uuid4(), 0, 0.0)


def test_a_batch_is_bounded_in_number() -> None:
    completer = new_completer()
    outcomes = [outcome() for _ in range(MAX_BATCH_OUTCOMES + 5)]
    add(completer, *outcomes)
    assert taken(completer).outcomes == outcomes[:MAX_BATCH_OUTCOMES]
    assert taken(completer).outcomes == outcomes[MAX_BATCH_OUTCOMES:]


def test_a_batch_is_bounded_in_bytes_but_takes_one_outcome_of_any_size() -> None:
    completer = new_completer()
    large, small = outcome(MAX_BATCH_BYTES + 1), outcome()
    add(completer, large, small)
    assert taken(completer).outcomes == [large]
    assert taken(completer).outcomes == [small]


def test_a_lost_batch_is_sent_again_before_newer_outcomes() -> None:
    completer = new_completer()
    old, new = outcome(), outcome()
    add(completer, old, makes_work=True, queue_limited=True)
    batch = taken(completer)
    add(completer, new)
    completer.put_back(batch)
    again = taken(completer)
    assert again.outcomes == [old, new]
    assert again.makes_work
    assert again.freed_queues == {"emails"}


@pytest.mark.parametrize(("verdict", "stale"), [("accepted", 0), ("duplicate", 0), ("stale", 1)])
def test_every_verdict_ends_an_outcome_and_stale_ones_are_counted(verdict: str, stale: int) -> None:
    completer = new_completer()
    add(completer, outcome())
    batch = taken(completer)
    completer.confirm(batch, verdicts(batch, verdict))
    assert completer.count == 0
    assert completer.stale_outcomes == stale


def test_a_busy_outcome_is_kept_with_all_that_belongs_to_it_and_sent_behind_others() -> None:
    completer = new_completer()
    busy, free, new = outcome(), outcome(), outcome()
    add(completer, busy, makes_work=True, queue_limited=True)
    add(completer, free)
    batch = taken(completer)
    found = completer.confirm(batch, verdicts(batch) | {busy.fence.task_id: Verdict("busy", None, None)})
    assert [each.outcome for each in found] == [busy]
    assert (completer.fences, completer.count, completer.busy_count) == ([busy.fence], 0, 1)
    assert completer.busy_for(0) == [busy.fence.task_id]
    assert not completer.busy_for(3600)
    add(completer, new)
    completer.retry(busy.fence)
    again = taken(completer)
    assert again.outcomes == [new, busy]
    assert again.makes_work
    assert again.freed_queues == {"emails"}
    [still_busy] = completer.confirm(again, verdicts(again) | {busy.fence.task_id: Verdict("busy", None, None)})
    assert still_busy.since == found[0].since
    completer.retry(busy.fence)
    last = taken(completer)
    assert not completer.confirm(last, verdicts(last))
    assert (completer.fences, completer.busy_for(0)) == ([], [])


def test_a_busy_outcome_fills_the_memory() -> None:
    completer = new_completer()
    add(completer, outcome(MAX_HELD_BYTES + 1))
    batch = taken(completer)
    completer.confirm(batch, verdicts(batch, "busy"))
    assert completer.is_full


def test_the_outcomes_of_a_refused_batch_are_sent_one_by_one_and_only_the_guilty_one_fails() -> None:
    completer = new_completer()
    good, guilty, new = outcome(), outcome(), outcome()
    add(completer, good, guilty)
    batch = taken(completer)
    completer.put_back(batch)
    completer.isolate(batch, "it contains NUL")
    add(completer, new)
    first = taken(completer)
    assert first.outcomes == [good]
    completer.confirm(first, verdicts(first))
    second = taken(completer)
    assert second.outcomes == [guilty]
    completer.put_back(second)
    completer.isolate(second, "it contains NUL")
    [ended] = taken(completer).outcomes
    assert (ended.fence, ended.ok, ended.error_code) == (guilty.fence, False, "WORKER_SERIALIZATION_ERROR")
    assert b"it contains NUL" in ended.result
    assert taken(completer).outcomes == [new]


def test_a_refused_outcome_does_not_travel_behind_others() -> None:
    completer = new_completer()
    older, refused = outcome(), outcome()
    add(completer, older)
    lost = taken(completer)
    add(completer, refused)
    batch = taken(completer)
    completer.put_back(batch)
    completer.isolate(batch, "too large")
    completer.put_back(lost)
    assert taken(completer).outcomes == [older]
    [alone] = taken(completer).outcomes
    assert alone.fence == refused.fence


def test_a_refused_outcome_frees_its_memory() -> None:
    completer = new_completer()
    add(completer, outcome(MAX_HELD_BYTES + 1))
    batch = taken(completer)
    completer.put_back(batch)
    completer.isolate(batch, "too large")
    assert not completer.is_full


def test_unconfirmed_outcomes_fill_the_memory_until_they_are_confirmed() -> None:
    completer = new_completer()
    add(completer, *(outcome(MAX_HELD_BYTES // 4) for _ in range(4)))
    assert not completer.is_full
    add(completer, outcome(1))
    assert completer.is_full
    while completer.count:
        batch = taken(completer)
        completer.put_back(batch)  # a lost reply frees no memory
        assert completer.is_full
        batch = taken(completer)
        completer.confirm(batch, verdicts(batch))
        if completer.count:
            break
    assert not completer.is_full


def test_the_work_hint_of_outcomes_beyond_a_batch_is_set_in_the_next_one() -> None:
    completer = new_completer()
    add(completer, *(outcome() for _ in range(MAX_BATCH_OUTCOMES + 1)), makes_work=True)
    assert taken(completer).makes_work
    assert taken(completer).makes_work
    assert not taken(completer).makes_work
