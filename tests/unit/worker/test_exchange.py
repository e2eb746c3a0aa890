"""Batches: when one is worth a round trip, its content, and replies in any order."""

import asyncio
import logging
from typing import NamedTuple
from uuid import UUID, uuid4

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from horsies.db.operations import CallFailedError
from horsies.db.queries import worker as worker_queries
from horsies.db.queries.rows import ClaimedTask
from horsies.db.queries.worker import Claim, Fence, Storage
from horsies.postponement import PostponeScope
from horsies.worker import completer, exchange
from horsies.worker.exchange_state import ClaimPhase, ExchangeBatch, SyncPhase
from horsies.worker.options import suspend_clock
from horsies.worker.reconciler import held_claims, lost_fences
from tests.support.exchanges import Parts, claim_of, claimed, worker_parts
from tests.support.waiting import wait_until
from tests.unit.worker.test_claimer import in_loop

FIRST, SECOND = UUID(int=1), UUID(int=2)


@pytest.fixture(autouse=True)
def _gather_for_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let outcomes gather for half a second: a busy machine may stop a test for longer than the real 5 ms."""
    for module in (completer, exchange):
        monkeypatch.setattr(module, "GATHER_S", 0.5)


def test_every_claim_that_a_worker_holds_is_compared() -> None:
    assert held_claims([Fence(FIRST, 1)], {Fence(SECOND, 1): None}, [], []) == [Fence(FIRST, 1), Fence(SECOND, 1)]


def test_a_task_that_was_claimed_again_is_compared_by_the_claim_under_which_it_runs() -> None:
    """The reply to an older outcome or release of the task was lost after it was written. No task is lost."""
    again = Fence(FIRST, 3)
    assert held_claims([again], {Fence(FIRST, 1): None}, [Fence(FIRST, 2)], []) == [again]


def test_only_a_claim_that_was_checked_and_is_still_held_can_be_lost() -> None:
    """The task of the first claim has ended meanwhile, and runs again under another claim."""
    checked, held = [Fence(FIRST, 1), Fence(SECOND, 2)], [Fence(FIRST, 3), Fence(SECOND, 2)]
    assert lost_fences(checked, [FIRST, SECOND], held) == {Fence(SECOND, 2)}


@in_loop
async def test_a_second_exchange_must_be_half_as_large_as_what_is_in_flight() -> None:
    async with worker_parts(children=8, max_claim_batch=4) as parts:
        parts.batch()
        assert parts.exchange.has_pending_work()  # four free slots
    async with worker_parts(children=5, max_claim_batch=4) as parts:
        parts.batch()
        assert not parts.exchange.has_pending_work()  # one free slot


def fill_ahead(parts: Parts) -> list[Fence]:
    """Let one child be as many quick jobs ahead as it may be; returns the fences in the order of the jobs."""
    fence = parts.run_one()
    parts.finish(fence, seconds=0.001)  # so that the child may be ten jobs ahead
    batch = parts.batch()
    tasks = [claimed() for _ in range(batch.request.run)]
    assert len(tasks) == 11
    parts.reply(batch, claim_of(*tasks, is_filled=True))
    return [Fence(task.id, batch.exchange_no) for task in tasks]


@in_loop
async def test_outcomes_that_need_only_a_notice_gather_while_the_children_are_busy() -> None:
    async with worker_parts(children=1) as parts:
        fences = fill_ahead(parts)
        for fence in fences[:5]:
            parts.finish(fence, seconds=0.001, storage=Storage.TASK)
            assert not parts.exchange.has_pending_work()
        parts.finish(fences[5], seconds=0.001, storage=Storage.TASK)  # less than half of the jobs are left
        assert parts.exchange.has_pending_work()
        batch = parts.batch()
        assert (len(batch.outcomes), batch.request.run) == (6, 6)


@in_loop
async def test_outcomes_that_need_only_a_notice_wait_for_a_bounded_time() -> None:
    async with worker_parts(children=1) as parts:
        fences = fill_ahead(parts)
        parts.exchange.state.changed.clear()
        parts.finish(fences[0], seconds=0.001, storage=Storage.TASK)
        assert not parts.exchange.has_pending_work()
        parts.exchange.state.changed.clear()
        await parts.exchange.state.next_change()  # nothing else happens: a timer ends the wait
        assert parts.exchange.has_pending_work()


@in_loop
async def test_an_outcome_that_has_to_be_stored_does_not_wait() -> None:
    async with worker_parts(children=1) as parts:
        fences = fill_ahead(parts)
        parts.finish(fences[0], seconds=0.001, storage=Storage.TASK)
        assert not parts.exchange.has_pending_work()
        parts.finish(fences[1], seconds=0.001)
        assert parts.exchange.has_pending_work()


@in_loop
async def test_the_notice_of_the_last_outcome_does_not_wait() -> None:
    """No job waits in a child, so there is no other outcome to wait for."""
    async with worker_parts(children=1) as parts:
        fence = parts.run_one()
        parts.finish(fence, seconds=0.001, storage=Storage.TASK)
        assert parts.exchange.has_pending_work()


@in_loop
async def test_releases_do_not_wait() -> None:
    async with worker_parts(children=1) as parts:
        fences = fill_ahead(parts)
        assert not parts.exchange.has_pending_work()
        parts.exchange.claimer.release([fences[-1]])
        assert parts.exchange.has_pending_work()


@in_loop
async def test_a_notice_whose_reply_was_lost_does_not_wait_again() -> None:
    async with worker_parts(children=1) as parts:
        fences = fill_ahead(parts)
        parts.finish(fences[0], seconds=0.001, storage=Storage.TASK)
        parts.exchange.put_back(parts.batch())
        assert parts.exchange.has_pending_work()


@in_loop
async def test_a_stuck_exchange_delays_no_other() -> None:
    async with worker_parts(children=5, max_claim_batch=4) as parts:
        parts.batch().built_at -= 1
        assert parts.exchange.has_pending_work()


@in_loop
async def test_a_worker_with_an_empty_batch_sends_nothing() -> None:
    async with worker_parts(children=1) as parts:
        parts.reply(parts.batch(), claim_of())
        assert not parts.exchange.has_pending_work()


@in_loop
async def test_nothing_is_claimed_while_the_memory_is_full_of_unconfirmed_outcomes() -> None:
    async with worker_parts(children=2) as parts:
        fence = parts.run_one()
        parts.finish(fence, result=b"0" * (65 << 20))
        assert parts.exchange.completer.is_full
        batch = parts.batch()
        assert (batch.request.run, len(batch.outcomes)) == (0, 1)
        parts.reply(batch)
        assert parts.batch().request.run == 2


@in_loop
async def test_a_request_for_a_comparison_does_not_hide_a_lost_reply() -> None:
    async with worker_parts() as parts:
        state, reconciler = parts.exchange.state, parts.exchange.reconciler
        reconciler.request()
        assert state.sync_phase is SyncPhase.COMPARE_REQUESTED
        reconciler.on_reply_lost(parts.failure())
        reconciler.request()
        assert state.sync_phase is SyncPhase.REPLY_LOST


@in_loop
async def test_no_lane_sends_before_the_comparison_that_a_lost_reply_needs() -> None:
    async with worker_parts() as parts:
        exchange = parts.exchange
        services = [
            asyncio.ensure_future(each) for each in (*exchange.essential_services(), *exchange.other_services())
        ]
        parts.exchange.wake()
        await asyncio.to_thread(wait_until, lambda: parts.exchange.reconciler.failing)  # the database cannot be reached
        assert parts.exchange.state.sync_phase is SyncPhase.REPLY_LOST
        assert parts.exchange.state.in_flight == []
        for service in services:
            service.cancel()
        await asyncio.wait(services)


def test_an_exchange_that_succeeds_during_a_recovery_does_not_end_it(caplog: pytest.LogCaptureFixture) -> None:
    """The reply of one lane is lost, and the recovery fails at first. Meanwhile the other lane's reply arrives."""
    caplog.set_level(logging.WARNING, "horsies")

    def retries() -> int:
        return caplog.text.count("connection.retrying")

    async def play() -> None:
        async with worker_parts() as parts:
            reconciler = parts.exchange.reconciler
            service = asyncio.ensure_future(reconciler.run())
            reconciler.on_reply_lost(parts.failure())
            await asyncio.to_thread(wait_until, retries)  # the database cannot be reached
            reconciler.on_exchange_succeeded()
            before = retries()
            await asyncio.to_thread(wait_until, lambda: service.done() or retries() > before + 1)
            assert not service.done()
            service.cancel()
            await asyncio.wait([service])

    asyncio.run(play())


@in_loop
async def test_a_busy_outcome_stops_no_claims_and_is_sent_again_later() -> None:
    async with worker_parts(children=1) as parts:
        fence = parts.run_one()
        parts.finish(fence)
        batch, next_task = parts.batch(), claimed()
        parts.reply(batch, claim_of(next_task), busy=[fence.task_id])
        assert parts.running() == {next_task.id}
        assert not parts.exchange.has_pending_work()
        assert parts.exchange.completer.fences == [fence]
        parts.exchange.retry_busy(fence)
        assert [outcome.fence for outcome in parts.batch().outcomes] == [fence]


@in_loop
async def test_a_busy_outcome_is_sent_again_by_itself() -> None:
    async with worker_parts(children=1) as parts:
        fence = parts.run_one()
        parts.finish(fence)
        parts.reply(parts.batch(), claim_of(), busy=[fence.task_id])
        parts.exchange.state.changed.clear()
        await asyncio.wait_for(parts.exchange.state.changed.wait(), 20)
        assert parts.exchange.completer.count == 1


@in_loop
async def test_a_worker_is_not_flushed_while_an_outcome_or_a_release_is_busy() -> None:
    async with worker_parts(children=1) as parts:
        fence = parts.run_one()
        other = Fence(uuid4(), 1)
        parts.finish(fence)
        parts.exchange.claimer.release([other])
        parts.reply(parts.batch(), claim_of(), busy=[fence.task_id, other.task_id])
        flushed = asyncio.ensure_future(parts.exchange.flush())
        await asyncio.sleep(0)
        parts.exchange.retry_busy(fence)
        parts.reply(parts.batch())
        await asyncio.sleep(0)
        assert not flushed.done()
        parts.exchange.claimer.retry_releases([other])
        parts.reply(parts.batch())
        await flushed


@in_loop
async def test_a_worker_is_not_flushed_while_an_outcome_is_busy() -> None:
    async with worker_parts(children=1) as parts:
        fence = parts.run_one()
        parts.finish(fence)
        parts.reply(parts.batch(), claim_of(), busy=[fence.task_id])
        flushed = asyncio.ensure_future(parts.exchange.flush())
        await asyncio.sleep(0)
        assert not flushed.done()
        parts.exchange.retry_busy(fence)
        parts.reply(parts.batch())
        await flushed


def refused(batch: ExchangeBatch, sqlstate: str) -> CallFailedError:
    finish = worker_queries.finish(batch.worker_id, "host", batch.outcomes)
    return CallFailedError("refused", retryable=False, sqlstate=sqlstate, failed_call=finish)


@in_loop
async def test_a_statement_that_refuses_outcomes_isolates_them() -> None:
    for sqlstate, alone in [("22P05", True), ("23514", True), ("54000", True), ("", True), ("53100", False)]:
        async with worker_parts(children=2) as parts:
            for fence in [parts.run_one(), parts.run_one()]:
                parts.finish(fence)
            batch = parts.batch()
            parts.exchange.on_failure(batch, refused(batch, sqlstate))
            assert len(parts.batch().outcomes) == (1 if alone else 2)


@in_loop
async def test_a_commit_that_fails_isolates_no_outcome() -> None:
    async with worker_parts(children=2) as parts:
        for fence in [parts.run_one(), parts.run_one()]:
            parts.finish(fence)
        batch = parts.batch()
        parts.exchange.on_failure(batch, CallFailedError("full", retryable=False, sqlstate="54000"))
        assert len(parts.batch().outcomes) == 2


@in_loop
async def test_nothing_is_claimed_after_a_call_has_not_fitted_the_schema_twice() -> None:
    async with worker_parts(children=2) as parts:
        fence = parts.run_one()
        parts.finish(fence)
        for claims in (True, True, False):
            batch = parts.batch()
            assert (bool(batch.request.run), len(batch.outcomes)) == (claims, 1)
            if claims:
                [claim] = parts.exchange.claimer.calls(batch).values()
                failure = CallFailedError("gone", retryable=False, sqlstate="42883", failed_call=claim)
                parts.exchange.on_failure(batch, failure)
        assert parts.exchange.state.claim_phase is ClaimPhase.OUTDATED


@in_loop
async def test_a_success_between_two_failures_lets_claims_continue() -> None:
    async with worker_parts(children=2) as parts:
        for _ in range(3):
            parts.exchange.wake()
            batch = parts.batch()
            [claim] = parts.exchange.claimer.calls(batch).values()
            failure = CallFailedError("gone", retryable=False, sqlstate="42883", failed_call=claim)
            parts.exchange.on_failure(batch, failure)
            parts.exchange.reconciler.on_exchange_succeeded()
        assert parts.exchange.state.claim_phase is ClaimPhase.CLAIMING


class Committed(NamedTuple):
    """What the database answers to an exchange: its claims, and the tasks whose rows another transaction held."""

    claims: list[Claim]
    busy: set[UUID]


class ExchangeModel(RuleBasedStateMachine):
    """A worker against a model of the database, with replies that come in any order, late, or never.

    The model has waiting tasks, and claims by task. An exchange is committed when it is sent or when it is answered; a
    lost one may not be committed at all. Another transaction may hold rows of claimed tasks for a while.
    """

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.waiting: list[UUID] = []
        self.claims: dict[UUID, Fence] = {}
        self.done: list[UUID] = []
        self.sent: list[tuple[ExchangeBatch, Committed | None]] = []
        self.locked: set[UUID] = set()
        self.orphans: set[UUID] = set()
        self.compare_needed = False

    @initialize(children=st.integers(1, 4), prefetch=st.integers(0, 2))
    def start(self, children: int, prefetch: int) -> None:
        self.context = worker_parts(children, prefetch_buffer=prefetch)
        self.parts: Parts = self.runner.run(self.context.__aenter__())

    def teardown(self) -> None:
        if hasattr(self, "parts"):
            self.runner.run(self.drain())
            assert sorted(self.done) == sorted(set(self.done))
            assert not self.waiting
            assert not self.claims
            self.runner.run(self.context.__aexit__(None, None, None))
        self.runner.close()

    async def drain(self) -> None:
        """Answer all exchanges, and let the worker finish all tasks."""
        self.locked.clear()
        while True:
            while self.sent:
                self.answer_now(*self.sent.pop())
            self.compare_now()
            for fence in self.parts.dispatcher.held():
                self.parts.finish(fence)
            self.parts.exchange.wake()
            self.retry_now()
            batch = self.parts.batch()
            if not (batch.size and (self.waiting or self.claims)):
                self.parts.reply(batch, *([claim_of()] * (bool(batch.request.run) + bool(batch.request.prefetch))))
                return
            self.answer_now(batch, None)

    @rule(count=st.integers(1, 3), noticed=st.booleans())
    def add_work(self, *, count: int, noticed: bool) -> None:
        self.waiting += [uuid4() for _ in range(count)]
        if noticed:
            self.parts.exchange.wake()

    @precondition(lambda self: len(self.sent) < 2 and not self.compare_needed)
    @rule(commits_at_once=st.booleans())
    def send(self, *, commits_at_once: bool) -> None:
        async def act() -> None:
            if self.parts.exchange.has_pending_work():
                batch = self.parts.batch()
                self.sent.append((batch, self.commit(batch) if commits_at_once else None))

        self.runner.run(act())

    @precondition(lambda self: self.sent)
    @rule(last=st.booleans())
    def answer(self, *, last: bool) -> None:
        async def act() -> None:
            self.answer_now(*self.sent.pop(-1 if last else 0))

        self.runner.run(act())

    @precondition(lambda self: self.sent)
    @rule(last=st.booleans(), commits=st.booleans())
    def lose(self, *, last: bool, commits: bool) -> None:
        batch, committed = self.sent.pop(-1 if last else 0)
        if committed is None and commits:
            self.commit(batch)
        self.parts.exchange.put_back(batch)
        self.compare_needed = True

    @rule(number=st.integers(0, 3))
    def lock_rows(self, *, number: int) -> None:
        """Another transaction holds the rows of some claimed tasks from now on, and no others."""
        self.locked = set(list(self.claims)[:number])

    @rule()
    def retry(self) -> None:
        """The pauses of all busy outcomes are over."""

        async def act() -> None:
            self.retry_now()

        self.runner.run(act())

    @precondition(lambda self: not self.sent)
    @rule()
    def compare(self) -> None:
        async def act() -> None:
            self.compare_now()

        self.runner.run(act())

    @precondition(lambda self: self.parts.dispatcher.held_jobs)
    @rule(ok=st.booleans())
    def finish(self, *, ok: bool) -> None:
        async def act() -> None:
            self.parts.finish(self.parts.dispatcher.held()[0], ok=ok)

        self.runner.run(act())

    @invariant()
    def every_claim_is_somewhere(self) -> None:
        if not hasattr(self, "parts") or self.compare_needed:
            return
        in_flight = {
            fence.task_id
            for batch, _ in self.sent
            for fence in (*(each.fence for each in batch.outcomes), *batch.releases, *batch.starting)
        }
        unanswered = {
            task.id for _, committed in self.sent if committed for claim in committed.claims for task in claim.tasks
        }
        exchange = self.parts.exchange
        held = {fence.task_id for fence in (*exchange.completer.fences, *exchange.claimer.fences)}
        assert self.claims.keys() <= in_flight | unanswered | held | self.parts.running() | self.orphans

    def commit(self, batch: ExchangeBatch) -> Committed:
        """Execute the transaction of an exchange."""
        fences = [*(outcome.fence for outcome in batch.outcomes), *batch.releases]
        busy = {fence.task_id for fence in fences if self.claims.get(fence.task_id) == fence} & self.locked
        for outcome in batch.outcomes:
            if self.claims.get(outcome.fence.task_id) == outcome.fence and outcome.fence.task_id not in busy:
                del self.claims[outcome.fence.task_id]
                self.done.append(outcome.fence.task_id)
        for fence in batch.releases:
            if self.claims.get(fence.task_id) == fence and fence.task_id not in busy:
                self.waiting.append(fence.task_id)
                del self.claims[fence.task_id]
        wanted = [count for count in (batch.request.run, batch.request.prefetch) if count]
        return Committed([self.claim(count, batch.exchange_no) for count in wanted], busy)

    def claim(self, count: int, exchange_no: int) -> Claim:
        taken, self.waiting = self.waiting[:count], self.waiting[count:]
        self.claims |= {task_id: Fence(task_id, exchange_no) for task_id in taken}
        tasks: list[ClaimedTask] = [claimed(task_id) for task_id in taken]
        return claim_of(*tasks, is_filled=len(taken) == count)

    def answer_now(self, batch: ExchangeBatch, committed: Committed | None) -> None:
        claims, busy = self.commit(batch) if committed is None else committed
        starts = [fence.task_id for fence in batch.starting if self.claims.get(fence.task_id) == fence]
        batch.built_at = suspend_clock()  # the database is near, however slow this machine is at the moment
        self.parts.reply(batch, *claims, starts=starts, busy=busy)

    def retry_now(self) -> None:
        exchange = self.parts.exchange
        for fence in exchange.completer.fences:
            exchange.retry_busy(fence)
        exchange.claimer.retry_releases(exchange.claimer.fences)

    def compare_now(self) -> None:
        """Do what the reconciler does between its call and the server function `reconcile`."""
        exchange, running = self.parts.exchange, self.parts.dispatcher.held()
        self.orphans.clear()
        held = set(held_claims(running, exchange.completer.fences, exchange.claimer.fences))
        for task_id, fence in list(self.claims.items()):
            if fence not in held and task_id in self.locked:
                self.orphans.add(task_id)  # a later comparison returns it
            elif fence not in held:
                self.waiting.append(task_id)
                del self.claims[task_id]
        for fence in running:
            if self.claims.get(fence.task_id) != fence:
                self.parts.dispatcher.cancel(fence.task_id)
        self.compare_needed = False


TestExchangeModel = ExchangeModel.TestCase
TestExchangeModel.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@in_loop
async def test_claims_are_separate_from_outcomes_that_lock_queues() -> None:
    for scope in (None, *PostponeScope):
        async with worker_parts(children=2) as parts:
            parts.finish(parts.run_one())
            batch = parts.batch()
            batch.outcomes = [outcome._replace(ok=False, postponed=scope) for outcome in batch.outcomes]
            transactions = parts.exchange._transactions(batch)
            calls = [[call.sql.split("horsies.")[1].split("(")[0] for call in each] for each in transactions]
            together = scope in (None, PostponeScope.TASK)
            assert calls[:2] == ([["finish", "claim"], ["notify_done"]] if together else [["finish"], ["claim"]])
