"""The states of a child and its jobs, without a process."""

import asyncio
import itertools
import os
import signal
import socket
from collections.abc import Iterator
from uuid import UUID

import pytest

from horsies.db.queries.worker import Fence
from horsies.worker import ipc
from horsies.worker.child_process import Child, ChildState, StopMode, new_channel
from horsies.worker.ipc import Frame, FrameReader, Job, Kind, StopCause
from horsies.worker.runtime.inbox import Inbox, StartTokens
from horsies.worker.runtime.stopping import RunningAttempts

KILLED = signal.SIGKILL


@pytest.fixture(params=[1, 3])
def child(request: pytest.FixtureRequest) -> Iterator[Child]:
    """Return a child of each concurrency, without a process at the other end of its socket."""
    with new_channel(0, 0, "test/0", concurrency=request.param) as (made, ours, _files):
        yield made
        ours.close()
    made.close()


def job(number: int) -> Job:
    return Job(Fence(UUID(int=number), 1), 1, "task", "default", b"[]")


def change(child: Child, state: ChildState) -> bool:
    """Request a state; return whether the child has changed to it."""
    before = child.state
    match state:
        case ChildState.STARTING:
            return False
        case ChildState.READY:
            return child.mark_ready()
        case ChildState.DRAINING:
            return child.drain("a reason")
        case ChildState.STOPPING:
            child.stop(StopMode.EXIT)
        case ChildState.DEAD:
            return child.mark_dead()
    return child.state is not before


@pytest.mark.parametrize(("first", "second"), list(itertools.product(ChildState, ChildState)))
def test_a_child_moves_in_one_direction_only(child: Child, first: ChildState, second: ChildState) -> None:
    change(child, first)
    assert child.state is first
    assert change(child, second) is (second > first)
    assert child.state is max(first, second)


def test_the_first_reason_to_drain_is_kept(child: Child) -> None:
    assert child.drain("memory")
    assert not child.drain("tasks")
    assert child.drain_reason == "memory"


def test_a_child_that_was_asked_to_exit_can_be_killed_and_its_first_reason_is_kept(child: Child) -> None:
    child.stop(StopMode.EXIT)
    assert (child.stop_mode, child.kill_reason) == (StopMode.EXIT, None)
    child.stop(StopMode.LOST)  # the stream ends because the child exits
    assert child.stop_mode is StopMode.EXIT
    child.stop(StopMode.KILL, "too slow")
    child.stop(StopMode.KILL, "again")
    child.stop(StopMode.LOST)
    assert (child.stop_mode, child.kill_reason) == (StopMode.KILL, "too slow")
    child.wait_status = KILLED
    assert child.describe_end() == "was killed by signal 9 (SIGKILL): too slow"


def test_a_child_that_is_lost_was_not_killed_on_purpose(child: Child) -> None:
    child.stop(StopMode.LOST)
    child.stop(StopMode.KILL, "too late")
    assert (child.stop_mode, child.kill_reason) == (StopMode.LOST, None)


def test_a_dead_child_keeps_its_state(child: Child) -> None:
    assert child.mark_dead()
    child.stop(StopMode.KILL, "too late")
    assert (child.state, child.stop_mode, child.kill_reason) == (ChildState.DEAD, None, None)


def test_an_abandoned_attempt_uses_no_slot_of_the_successor(child: Child) -> None:
    async def load() -> tuple[int, int, int]:
        for number in range(3):
            child.give(job(number))
        child.stops[job(0).fence] = StopCause.CANCELLED
        child.abandoned.add(job(0).fence)
        with new_channel(1, 0, "test/0", concurrency=child.concurrency) as (successor, ours, _files):
            successor.predecessors = [child]
            found = child.active_count, successor.load, successor.room(5)
            ours.close()
        successor.close()
        return found

    assert asyncio.run(load()) == (2, 2, 3)
    child.remove_ended(job(0).fence)
    assert child.active_count == 2
    assert not child.stops
    assert not child.abandoned


def test_unstarted_jobs_are_withdrawn_at_every_concurrency() -> None:
    """The child has taken the start tokens of three jobs, one of which has ended. Two further jobs have not started."""

    async def withdraw(concurrency: int) -> tuple[list[Job], list[Job], list[bytes]]:
        with new_channel(0, 0, "test/0", concurrency=concurrency) as (child, ours, files):
            child.transport, _ = await asyncio.get_running_loop().create_unix_connection(asyncio.Protocol, sock=ours)
            take = os.dup(files[1])
            for number in range(5):
                child.give(job(number))
            child.flush()
            assert os.read(take, 3) == b"RRR"
            child.remove_ended(job(1).fence)
            withdrawn, again = child.withdraw(), child.withdraw()
            left = [os.read(take, 1), os.read(take, 1)]
            child.transport.close()
        child.close()
        os.close(take)
        assert list(child.jobs) == [job(0).fence, job(2).fence]
        return withdrawn, again, left

    for concurrency in (1, 20):
        assert asyncio.run(withdraw(concurrency)) == ([job(3), job(4)], [], [b"D", b"D"])


def test_a_stop_reaches_the_task_that_the_event_loop_runs_and_jobs_behind_it_wait() -> None:
    ours, theirs = socket.socketpair()
    attempts = RunningAttempts()
    inbox = Inbox(theirs, attempts)

    async def run(running: Job) -> str:
        attempts.add(running)
        inbox.read_on(asyncio.get_running_loop())
        frames = [Frame(Kind.START, job(2).encode()), ipc.stop(running.fence, StopCause.CANCELLED)]
        ours.sendall(b"".join(frame.encode() for frame in frames))
        try:
            with attempts[running.fence]:
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            cause = attempts[running.fence].end()
            return "nothing" if cause is None else cause.name
        return "not cancelled"

    with ours, theirs:
        assert asyncio.run(run(job(1))) == "CANCELLED"
        following = inbox.next()
        assert following is not None
        assert following.fence == job(2).fence
        ours.close()
        assert inbox.next() is None


def test_the_end_of_the_stream_does_not_keep_the_loop_busy() -> None:
    ours, theirs = socket.socketpair()
    inbox = Inbox(theirs, RunningAttempts())

    async def is_still_read() -> bool:
        loop = asyncio.get_running_loop()
        inbox.read_on(loop)
        ours.close()
        for _ in range(3):
            await asyncio.sleep(0)
        return loop.remove_reader(theirs)

    with theirs:
        assert asyncio.run(is_still_read()) is False
        assert inbox.next() is None


def test_a_start_token_that_the_supervisor_took_is_lost_for_the_child() -> None:
    take, give = os.pipe()
    os.set_blocking(take, False)
    os.write(give, b"RD")
    tokens = StartTokens(take)
    assert [tokens.take(), tokens.take()] == [True, False]
    os.close(give)
    assert tokens.take() is False  # the supervisor is gone
    os.close(take)


def test_a_stop_is_written_and_read_whole() -> None:
    fence = Fence(UUID(int=7), 1 << 40)
    [frame] = FrameReader().feed(ipc.stop(fence, StopCause.TIMED_OUT).encode())
    assert ipc.unpack_stop(frame) == (fence, StopCause.TIMED_OUT)
