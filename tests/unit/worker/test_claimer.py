"""Requests of the claimer, and its handling of replies: on time, late, lost, empty, full, with a lost identity."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import wraps
from uuid import uuid4

import pytest

from horsies.db.queries.worker import Fence
from horsies.worker.claimer import DueTimer
from horsies.worker.exchange_state import ClaimRequest
from tests.support.exchanges import claim_of, claimed, worker_parts


def in_loop[**P](test: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Run an asynchronous test in a separate event loop."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def main() -> None:
            await test(*args, **kwargs)

        asyncio.run(main())

    return run


@in_loop
async def test_a_request_fills_the_free_children() -> None:
    async with worker_parts(children=3) as parts:
        assert parts.batch().request == ClaimRequest([], 3, 0)


@in_loop
async def test_claims_in_flight_are_not_requested_twice() -> None:
    async with worker_parts(children=3) as parts:
        first = parts.batch()
        assert parts.batch().request.run == 0
        parts.reply(first, claim_of(claimed(), is_filled=True))
        assert parts.batch().request.run == 2


@in_loop
async def test_a_lost_reply_makes_room_for_another_request() -> None:
    async with worker_parts(children=3) as parts:
        parts.exchange.put_back(parts.batch())
        assert parts.batch().request.run == 3


@in_loop
async def test_releases_of_a_lost_exchange_are_sent_again() -> None:
    async with worker_parts() as parts:
        parts.exchange.claimer.release([Fence(uuid4(), 1)])
        lost = parts.batch()
        parts.exchange.put_back(lost)
        assert parts.batch().releases == lost.releases


@in_loop
async def test_max_claim_per_worker_counts_running_and_in_flight_tasks() -> None:
    async with worker_parts(children=8, max_claim_per_worker=3) as parts:
        parts.run_one()
        first = parts.batch()
        assert first.request.run == 2
        assert parts.batch().request.run == 0


@in_loop
async def test_max_claim_batch_bounds_one_request() -> None:
    async with worker_parts(children=8, max_claim_batch=2) as parts:
        assert parts.batch().request.run == 2
        assert parts.batch().request.run == 2


@in_loop
async def test_a_prefetched_task_starts_before_more_are_claimed() -> None:
    async with worker_parts(children=1, prefetch_buffer=2) as parts:
        first = parts.batch()
        assert first.request == ClaimRequest([], 1, 2)
        running, waiting = claimed(), claimed()
        parts.reply(first, claim_of(running, is_filled=True), claim_of(waiting, is_filled=True))
        assert parts.running() == {running.id}
        parts.finish(Fence(running.id, first.exchange_no))
        second = parts.batch()
        assert second.request == ClaimRequest([Fence(waiting.id, first.exchange_no)], 0, 2)
        parts.reply(second, claim_of(), starts=[waiting.id])
        assert parts.running() == {waiting.id}


@in_loop
async def test_a_prefetched_task_that_the_database_refuses_is_forgotten() -> None:
    async with worker_parts(children=1, prefetch_buffer=1) as parts:
        first = parts.batch()
        running, waiting = claimed(), claimed()
        parts.reply(first, claim_of(running), claim_of(waiting))
        parts.finish(Fence(running.id, first.exchange_no))
        second = parts.batch()
        parts.reply(second)
        assert parts.running() == set()
        assert parts.exchange.claimer.fences == []


@in_loop
async def test_an_empty_reply_ends_the_search_until_work_is_announced() -> None:
    async with worker_parts() as parts:
        parts.reply(parts.batch(), claim_of())
        assert not parts.exchange.has_pending_work()
        parts.exchange.wake()
        assert parts.exchange.has_pending_work()


@in_loop
async def test_a_full_reply_is_followed_by_another_claim() -> None:
    async with worker_parts(children=2) as parts:
        parts.reply(parts.batch(), claim_of(claimed(), is_filled=True))
        assert parts.batch().request.run == 1


@in_loop
async def test_an_empty_reply_says_nothing_about_work_that_was_announced_after_it_was_asked_for() -> None:
    async with worker_parts() as parts:
        batch = parts.batch()
        parts.exchange.wake()
        parts.reply(batch, claim_of())
        assert parts.batch().request.run == 2


@in_loop
async def test_two_replies_that_come_in_the_other_order_leave_newer_work_announced() -> None:
    async with worker_parts(children=4, max_claim_batch=2) as parts:
        first, second = parts.batch(), parts.batch()
        parts.reply(second, claim_of(claimed(), claimed(), is_filled=True))
        parts.reply(first, claim_of())
        assert parts.batch().request.run == 2


@in_loop
async def test_a_reply_that_comes_too_late_starts_nothing() -> None:
    async with worker_parts() as parts:
        batch, task = parts.batch(), claimed()
        batch.built_at -= parts.settings.stale_after_s / 2 + 1
        parts.reply(batch, claim_of(task))
        assert parts.running() == set()
        assert parts.batch().releases == [Fence(task.id, batch.exchange_no)]


@in_loop
async def test_a_reply_in_time_starts_its_tasks() -> None:
    async with worker_parts() as parts:
        batch, task = parts.batch(), claimed()
        batch.built_at -= parts.settings.stale_after_s / 2 - 10
        parts.reply(batch, claim_of(task))
        assert parts.running() == {task.id}
        assert parts.exchange.claimer.releases == 0


@in_loop
async def test_a_reply_to_an_earlier_identity_starts_nothing() -> None:
    async with worker_parts() as parts:
        batch, task = parts.batch(), claimed()
        parts.identity.worker_id = uuid4()
        parts.reply(batch, claim_of(task))
        assert parts.running() == set()
        assert parts.exchange.claimer.releases == 1


@in_loop
async def test_a_reply_after_the_stop_is_released() -> None:
    async with worker_parts(prefetch_buffer=1) as parts:
        batch, tasks = parts.batch(), [claimed(), claimed()]
        parts.exchange.claimer.stop()
        parts.reply(batch, claim_of(tasks[0]), claim_of(tasks[1]))
        assert parts.running() == set()
        following = parts.batch()
        assert {fence.task_id for fence in following.releases} == {task.id for task in tasks}
        assert following.request == ClaimRequest((), 0, 0)


@in_loop
async def test_a_task_that_was_cancelled_while_its_claim_was_in_flight_is_released_instead_of_started() -> None:
    """Anybody can say that a task was cancelled. If it was not, it returns to the queue."""
    async with worker_parts() as parts:
        batch, cancelled, other = parts.batch(), claimed(), claimed()
        parts.exchange.on_cancel_notice(cancelled.id)
        parts.reply(batch, claim_of(cancelled, other))
        assert parts.running() == {other.id}
        assert parts.batch().releases == [Fence(cancelled.id, batch.exchange_no)]


@in_loop
async def test_a_cancel_is_forgotten_with_the_exchange_that_it_met() -> None:
    async with worker_parts() as parts:
        first, task = parts.batch(), claimed()
        parts.exchange.on_cancel_notice(task.id)
        parts.reply(first, claim_of(is_filled=True))
        second = parts.batch()
        parts.reply(second, claim_of(task))
        assert parts.running() == {task.id}


@in_loop
async def test_tasks_without_a_free_child_are_released_and_work_is_expected() -> None:
    async with worker_parts(children=1) as parts:
        batch, tasks = parts.batch(), [claimed(), claimed()]
        parts.reply(batch, claim_of(*tasks))
        assert parts.running() == {tasks[0].id}
        assert parts.exchange.claimer.releases == 1
        assert parts.exchange.has_pending_work()


@in_loop
async def test_after_a_failed_attempt_the_next_exchange_searches_for_its_retry() -> None:
    async with worker_parts(children=1) as parts:
        fence = parts.run_one()
        parts.reply(parts.batch(), claim_of())  # no other task waits
        parts.finish(fence, ok=False)
        batch = parts.batch()
        assert (batch.makes_work, batch.request.run) == (True, 1)


@in_loop
async def test_work_that_a_batch_without_a_claim_creates_is_claimed_later() -> None:
    async with worker_parts(children=1) as parts:
        fence = parts.run_one()
        parts.finish(fence, ok=False)
        parts.run_one()  # the child is busy again, so the next exchange claims nothing
        batch = parts.batch()
        parts.reply(batch)
        parts.exchange.state.changed.clear()
        assert parts.exchange.claimer.request(is_full=False).run == 0
        parts.finish(parts.dispatcher.held()[0])
        assert parts.batch().request.run == 1


@in_loop
async def test_limits_are_noticed_by_an_unfilled_claim_or_by_a_task() -> None:
    for reply in (claim_of(limits_active=True), claim_of(claimed(queue_limited=True), is_filled=True)):
        async with worker_parts() as parts:
            assert not parts.exchange.state.limits_active
            parts.reply(parts.batch(), reply)
            assert parts.exchange.state.limits_active


@in_loop
async def test_the_next_scheduled_task_is_claimed_when_it_falls_due() -> None:
    async with worker_parts() as parts:
        parts.reply(parts.batch(), claim_of(due_in=0.01))
        assert not parts.exchange.has_pending_work()
        parts.exchange.state.changed.clear()
        await asyncio.wait_for(parts.exchange.state.changed.wait(), 10)
        assert parts.exchange.has_pending_work()


class TestDueTimer:
    @in_loop
    async def test_a_later_time_does_not_move_an_earlier_one(self) -> None:
        timer = DueTimer(list)
        timer.set(100)
        earlier = timer.fires_at
        timer.set(200)
        assert timer.fires_at == earlier
        timer.cancel()
        assert timer.fires_at is None

    @in_loop
    async def test_an_earlier_time_moves_a_later_one(self) -> None:
        timer = DueTimer(list)
        timer.set(200)
        later = timer.fires_at
        timer.set(100)
        assert timer.fires_at is not None
        assert later is not None
        assert timer.fires_at < later
        timer.cancel()

    @in_loop
    async def test_a_timer_that_has_fired_is_set_again(self) -> None:
        fired = asyncio.Event()
        timer = DueTimer(fired.set)
        timer.set(0)
        await asyncio.wait_for(fired.wait(), 10)
        timer.set(100)
        assert timer.fires_at == pytest.approx(asyncio.get_running_loop().time() + 100, abs=60)
        timer.cancel()
