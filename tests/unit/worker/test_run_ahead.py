"""Jobs that wait in children which run several jobs at the same time, and exchanges with a distant database."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from functools import wraps

import pytest

from horsies.db.queries.worker import Fence
from horsies.worker import ipc
from horsies.worker.ipc import RUN, Frame, Kind, Report
from horsies.worker.runtime_estimator import MIN_AHEAD_TASKS
from tests.support.exchanges import Parts, claim_of, claimed, worker_parts

QUICK_S = 20e-6
DISTANT_S = 0.033
VERY_DISTANT_S = 100.0


def in_loop[**P](test: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Run an asynchronous test in a separate event loop."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def main() -> None:
            await test(*args, **kwargs)

        asyncio.run(main())

    return run


def claim(parts: Parts, count: int | None = None, *, round_trip_s: float = 0.0) -> list[Fence]:
    """Claim as many tasks as a batch asks for, or fewer, and assign them."""
    batch = parts.batch()
    batch.built_at -= round_trip_s
    tasks = [claimed() for _ in range(batch.request.run if count is None else count)]
    parts.reply(batch, claim_of(*tasks, is_filled=True))
    return [Fence(task.id, batch.exchange_no) for task in tasks]


def learn(parts: Parts, seconds: float = QUICK_S, *, round_trip_s: float = 0.0) -> None:
    """Let the worker know that its tasks take this time, and its exchanges that time."""
    for fence in claim(parts, 1, round_trip_s=round_trip_s):
        parts.finish(fence, seconds=seconds)


def claim_with_time_outs(parts: Parts) -> list[Fence]:
    """Let the worker claim four quick tasks with a time-out, and return their fences."""
    learn(parts)
    batch = parts.batch()
    tasks = [claimed()._replace(timeout_ms=60_000) for _ in range(4)]
    parts.reply(batch, claim_of(*tasks, is_filled=True))
    return [Fence(task.id, batch.exchange_no) for task in tasks]


@in_loop
async def test_quick_jobs_wait_in_a_child_that_runs_several_at_the_same_time() -> None:
    async with worker_parts(children=1, concurrency=3) as parts:
        assert len(claim(parts)) == 3
        assert not parts.dispatcher.has_waiting_jobs
    async with worker_parts(children=1, concurrency=3) as parts:
        learn(parts)
        assert len(claim(parts)) == 3 + MIN_AHEAD_TASKS
        [child] = parts.processes
        assert child.waiting == MIN_AHEAD_TASKS
        assert parts.processes.busy_slots == 3
        assert parts.exchange.claimer.releases == 0


@in_loop
async def test_no_job_waits_behind_slow_ones() -> None:
    async with worker_parts(children=1, concurrency=3) as parts:
        learn(parts, seconds=1.0)
        assert len(claim(parts)) == 3


@in_loop
async def test_a_job_of_a_limited_queue_does_not_wait_in_a_child() -> None:
    async with worker_parts(children=1, concurrency=2) as parts:
        learn(parts)
        claim(parts, 2)
        batch = parts.batch()
        limited = claimed(queue_limited=True)
        parts.reply(batch, claim_of(limited, is_filled=True))
        assert limited.id not in parts.running()
        assert [fence.task_id for fence in parts.batch().releases] == [limited.id]


@in_loop
async def test_the_time_out_of_a_waiting_job_begins_when_a_place_is_free() -> None:
    async with worker_parts(children=1, concurrency=2) as parts:
        first, second, third, fourth = claim_with_time_outs(parts)
        [child] = parts.processes
        assert child.timers.keys() == {first, second}
        parts.finish(second, seconds=QUICK_S)
        assert child.timers.keys() == {first, third}
        parts.finish(first, seconds=QUICK_S)
        assert child.timers.keys() == {third, fourth}


@in_loop
async def test_waiting_jobs_are_withdrawn_and_running_ones_are_not() -> None:
    async with worker_parts(children=1, concurrency=2) as parts:
        learn(parts)
        fences = claim(parts, 5)
        [child] = parts.processes
        child.flush()
        take_tokens(child.take_tokens, 1 + 2)  # the child has started the first job, which has ended, and two more
        parts.dispatcher.withdraw()
        assert parts.dispatcher.held() == fences[:2]
        assert parts.batch().releases == fences[2:]


async def until(holds: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.005)


def take_tokens(pipe: int, count: int) -> None:
    """Take start tokens, as a child does."""
    assert os.read(pipe, count) == RUN * count


@pytest.mark.parametrize("concurrency", [1, 10])
def test_exchanges_with_a_distant_database_are_spread_while_children_have_work(concurrency: int) -> None:
    async def play() -> None:
        async with worker_parts(children=1, concurrency=concurrency) as parts:
            learn(parts, round_trip_s=VERY_DISTANT_S)
            fences = claim(parts, round_trip_s=VERY_DISTANT_S)
            parts.finish(fences.pop(), seconds=QUICK_S)
            assert parts.exchange.has_pending_work()
            first = parts.batch()
            parts.finish(fences.pop(), seconds=QUICK_S)
            assert not parts.exchange.has_pending_work()  # more outcomes will come before the reply
            first.built_at -= VERY_DISTANT_S / 2
            assert parts.exchange.has_pending_work()
            first.built_at += VERY_DISTANT_S / 2
            while len(fences) > concurrency:
                parts.finish(fences.pop(), seconds=QUICK_S)
                assert parts.exchange.has_pending_work() == (len(fences) == concurrency)  # no job waits any more

    asyncio.run(play())


@in_loop
async def test_an_exchange_that_was_put_off_is_considered_again_by_itself() -> None:
    async with worker_parts(children=1) as parts:
        learn(parts, round_trip_s=DISTANT_S)
        claim(parts, round_trip_s=DISTANT_S)
        parts.batch()
        parts.exchange.state.changed.clear()
        await asyncio.wait_for(parts.exchange.state.changed.wait(), 20)
        assert parts.exchange.state.changed.is_set()


@in_loop
async def test_exchanges_with_a_near_database_are_not_spread() -> None:
    async with worker_parts(children=1) as parts:
        learn(parts)
        fences = claim(parts)
        parts.finish(fences.pop(), seconds=QUICK_S)
        parts.batch()
        parts.finish(fences.pop(), seconds=QUICK_S)
        assert parts.exchange.has_pending_work()


@in_loop
async def test_the_clock_of_an_attempt_that_commits_does_not_start_again() -> None:
    async with worker_parts(children=1, concurrency=2) as parts:
        first, second, third, fourth = claim_with_time_outs(parts)
        [child] = parts.processes
        parts.dispatcher.on_frames(child, [ipc.commit(second)])
        done = Frame(Kind.DONE, Report(first, ok=True, result=b"null", seconds=QUICK_S).encode())
        parts.dispatcher.on_frames(child, [done, ipc.commit(third)])  # the child started the third one meanwhile
        assert child.timers == {}
        parts.finish(second, seconds=QUICK_S)
        assert child.timers.keys() == {fourth}


@in_loop
async def test_nothing_is_claimed_to_wait_behind_jobs_that_take_long() -> None:
    async with worker_parts(children=1, concurrency=2) as parts:
        learn(parts)
        fences = claim(parts, 5)
        [child] = parts.processes
        child.flush()
        take_tokens(child.take_tokens, 1 + 2)
        await until(lambda: not child.waiting)
        batch = parts.batch()
        assert batch.releases == fences[2:]
        assert batch.request.run == 0
        parts.finish(fences[0], seconds=QUICK_S)
        assert parts.dispatcher.capacity_ahead == 1 + MIN_AHEAD_TASKS


@in_loop
async def test_jobs_wait_in_another_child_than_the_one_that_makes_no_progress() -> None:
    async with worker_parts(children=2) as parts:
        learn(parts)
        fences = claim(parts, 3)
        stalled, other = parts.processes
        for child in (stalled, other):
            child.flush()
        take_tokens(stalled.take_tokens, 1 + 1)
        take_tokens(other.take_tokens, 1)
        assert list(stalled.jobs) == fences[::2]
        await until(lambda: not stalled.waiting)
        batch = parts.batch()
        assert batch.releases == [fences[2]]
        assert batch.request.run == MIN_AHEAD_TASKS
        parts.reply(batch, claim_of(*(claimed() for _ in range(MIN_AHEAD_TASKS)), is_filled=True))
        assert parts.exchange.claimer.releases == 0
        assert (stalled.load, other.load) == (1, 1 + MIN_AHEAD_TASKS)
        assert parts.dispatcher.is_half_ahead
