"""Draining, stopping and killing children: the supervisor's side over real sockets.

The test takes the roles of the fork server and the children, so that it controls the times of their messages.
"""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import pytest

from horsies.config.app import RecoveryConfig, WorkerResilienceConfig
from horsies.config.payload import PayloadPolicy
from horsies.config.postgres import PostgresConfig
from horsies.db.queries.declarations import Declarations
from horsies.db.queries.worker import Fence, Outcome
from horsies.scheduler.plan import Schedules
from horsies.worker import ipc
from horsies.worker.dispatcher import Dispatcher
from horsies.worker.fork_server import ForkServer
from horsies.worker.ipc import Frame, FrameReader, Job, Kind, Report, StopCause
from horsies.worker.options import WorkerOptions, WorkerSettings
from horsies.worker.processes import ProcessManager

NO_SUCH_PID = 1 << 22  # and above: larger than any process id of Linux
PATIENCE_S = 10


@dataclass
class Heard:
    """The reports of the dispatcher to its worker."""

    outcomes: dict[int, Outcome] = field(default_factory=dict[int, Outcome])
    returned: list[int] = field(default_factory=list[int])

    def on_outcome(self, job: Job, outcome: Outcome) -> None:
        self.outcomes[job.fence.task_id.int] = outcome

    def on_capacity(self) -> None:
        """Do nothing, because no task waits."""

    def on_unstarted(self, jobs: Sequence[Job]) -> None:
        self.returned += [job.fence.task_id.int for job in jobs]

    def codes(self) -> dict[int, str | None]:
        return {number: outcome.error_code for number, outcome in self.outcomes.items()}


class PlayedChild:
    """A child as its supervisor sees it: a socket, and start tokens that it may take."""

    def __init__(self, pid: int, files: Sequence[int]) -> None:
        self.pid = pid
        self.channel = socket.socket(fileno=files[0])
        self.channel.setblocking(False)
        self._tokens, self._liveness_pipe = files[1:]
        self._reader = FrameReader()
        self.begun: list[int] = []
        self.stops: list[tuple[int, StopCause]] = []
        self.is_reading = True

    def send(self, frame: Frame) -> None:
        self.channel.sendall(frame.encode())

    def read(self) -> None:
        """Read all frames, and start all jobs that have a start token."""
        if not self.is_reading:
            return
        try:
            data = self.channel.recv(1 << 16)
        except BlockingIOError:
            return
        for frame in self._reader.feed(data):
            if frame.kind is Kind.STOP:
                fence, cause = ipc.unpack_stop(frame)
                self.stops.append((fence.task_id.int, cause))
            elif os.read(self._tokens, 1) == ipc.RUN:
                self.begun.append(Job.decode(frame.body).fence.task_id.int)

    def finish(self, number: int, error_code: str | None = None) -> None:
        report = Report(fence(number), ok=error_code is None, result=b"1", error_code=error_code)
        self.send(Frame(Kind.DONE, report.encode()))

    def close(self) -> None:
        if self.channel.fileno() >= 0:
            self.channel.close()
            os.close(self._tokens)
            os.close(self._liveness_pipe)


class Stage:
    """A process manager and a dispatcher with their counterparts."""

    def __init__(self, concurrency: int, max_tasks: int) -> None:
        options = WorkerOptions(concurrency=concurrency, max_tasks_per_child=max_tasks)
        ours, self._theirs = socket.socketpair()
        self._theirs.setblocking(False)
        self._ours = ours
        self._reader = FrameReader()
        self.heard = Heard()
        self.processes = ProcessManager(ForkServer(NO_SUCH_PID, ours), "test", options)
        self.dispatcher = Dispatcher(self.processes, SETTINGS, options)
        self.dispatcher.subscribe(
            on_outcome=self.heard.on_outcome, on_capacity=self.heard.on_capacity, on_unstarted=self.heard.on_unstarted
        )
        self.children: list[PlayedChild] = []
        self.killed: list[PlayedChild] = []

    async def start(self) -> None:
        await self.processes.start()
        await self.until(lambda: self.dispatcher.capacity > 0)

    async def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._ours.fileno())
        for child in self.processes:
            for timer in child.timers.values():
                timer.cancel()
            await _wait_for(lambda child=child: child.transport)  # it may still be being connected
            if child.transport is not None:
                child.transport.close()
            await _wait_for(lambda child=child: child.has_ended)  # then the fork server may be told to kill it
            child.close()
        asyncio.get_running_loop().remove_writer(self._ours.fileno())
        for played in self.children:
            played.close()
        self._ours.close()
        self._theirs.close()

    async def until(self, condition: Callable[[], object]) -> None:
        """Act as fork server and children until a condition holds."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                self._play_template()
                for child in self.children:
                    if child not in self.killed:
                        child.read()
                if condition():
                    return
                await asyncio.sleep(0.001)

    async def settle(self) -> None:
        """Let all sent frames arrive."""
        for _ in range(20):
            await self.until(lambda: True)
            await asyncio.sleep(0.001)

    def _play_template(self) -> None:
        try:
            data, files, _flags, _address = socket.recv_fds(self._theirs, 1 << 16, 3)
        except BlockingIOError:
            return
        for frame in self._reader.feed(data):
            if frame.kind is Kind.FORK:
                number = ipc.unpack_fork(frame)
                child = PlayedChild(NO_SUCH_PID + 1 + number, files)
                self.children.append(child)
                self._theirs.sendall(ipc.forked(number, child.pid).encode())
                child.send(ipc.ready(child.pid))
            elif frame.kind is Kind.KILL:
                pid = ipc.unpack_kill(frame)
                [child] = [child for child in self.children if child.pid == pid]
                self.end(child, signal.SIGKILL)

    def end(self, child: PlayedChild, wait_status: int) -> None:
        """Let a child die."""
        if child not in self.killed:
            self.killed.append(child)
            child.close()
            self._theirs.sendall(ipc.exited(child.pid, wait_status).encode())

    async def give(self, number: int, name: str = "def", timeout_ms: int | None = None) -> None:
        """Assign a job."""
        assert self.dispatcher.assign(Job(fence(number), 1, name, "default", b"[]", timeout_ms))
        await asyncio.sleep(0)


async def _wait_for(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.001)


SETTINGS = WorkerSettings(
    app_name="test",
    broker=PostgresConfig(database_url="postgresql://nowhere/none"),
    recovery=RecoveryConfig(),
    resilience=WorkerResilienceConfig(),
    queues={"default": None},
    cluster_cap=None,
    prefetch_buffer=0,
    lease_s=None,
    max_lease_s=1,
    task_names=("def", "async"),
    async_names=frozenset({"async"}),
    transactional_names=frozenset(),
    schedules=Schedules((), 1, PayloadPolicy()),
    folders=(),
    declarations=Declarations(None, []),
    payload=PayloadPolicy(),
)


def fence(number: int) -> Fence:
    return Fence(UUID(int=number), 1)


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, int]]:
    """Return the name and level of each event in the log."""
    return [(record.getMessage().partition(" ")[0], record.levelno) for record in caplog.records]


def play(scenario: Callable[[Stage], Coroutine[None, None, None]], concurrency: int = 3, max_tasks: int = 0) -> None:
    """Run a scenario on a separate stage."""

    async def run() -> None:
        stage = Stage(concurrency, max_tasks)
        try:
            await stage.start()
            await scenario(stage)
        finally:
            await stage.close()

    asyncio.run(run())


def test_an_async_task_that_ends_when_cancelled_keeps_its_child() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.give(1, "async")
        await stage.give(2)
        [child] = stage.children
        await stage.until(lambda: child.begun == [1, 2])
        assert stage.dispatcher.cancel(UUID(int=1)) is True
        assert stage.dispatcher.cancel(UUID(int=1)) is False
        await stage.until(lambda: child.stops == [(1, StopCause.CANCELLED)])
        child.finish(1, "TASK_CANCELLED")
        child.finish(2)
        await stage.until(lambda: stage.heard.codes() == {1: "TASK_CANCELLED", 2: None})
        await stage.give(3)
        await stage.until(lambda: child.begun == [1, 2, 3])
        assert stage.children == [child]
        assert not stage.killed

    play(scenario)


@pytest.mark.parametrize("name", ["def", "async"])
def test_a_cancelled_task_that_does_not_end_is_killed_when_it_is_alone(name: str) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.give(1, name)
        await stage.give(2)
        await stage.until(lambda: stage.children[0].begun == [1, 2])
        stage.dispatcher.cancel(UUID(int=1))
        await stage.until(lambda: len(stage.children) == 2)
        old, successor = stage.children
        await stage.until(lambda: stage.dispatcher.capacity == 2)
        await stage.give(3)
        await stage.until(lambda: successor.begun == [3])
        assert not stage.killed
        assert not stage.heard.outcomes
        old.finish(2)
        await stage.until(lambda: stage.killed == [old])
        await stage.until(lambda: stage.heard.codes() == {1: "TASK_CANCELLED", 2: None})
        await stage.until(lambda: stage.dispatcher.capacity == 2)
        assert stage.children == [old, successor]

    play(scenario)


@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_timed_out_task_that_is_alone_is_killed_at_once_and_its_child_replaced(concurrency: int) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.give(1, "def", 100)
        await stage.until(lambda: stage.heard.codes() == {1: "TASK_TIMEOUT"})
        assert b"task def ran longer than 100 ms" in stage.heard.outcomes[1].result
        assert stage.killed == stage.children[:1]
        await stage.until(lambda: len(stage.children) == 2)
        await stage.until(lambda: stage.dispatcher.capacity == concurrency)

    play(scenario, concurrency)


def test_a_cancel_of_a_task_past_its_timeout_makes_it_cancelled() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.give(1, "def", 100)
        await stage.give(2)
        [child] = stage.children
        await stage.until(lambda: child.stops == [(1, StopCause.TIMED_OUT)])
        assert stage.dispatcher.cancel(UUID(int=1)) is True
        await stage.until(lambda: len(stage.children) == 2)
        child.finish(2)
        await stage.until(lambda: stage.heard.codes() == {1: "TASK_CANCELLED", 2: None})

    play(scenario)


def test_the_end_of_a_child_says_of_each_attempt_why_it_ended() -> None:
    async def scenario(stage: Stage) -> None:
        [child] = stage.children
        await stage.give(1)
        await stage.give(2, "def", 100)
        await stage.give(3)
        await stage.until(lambda: child.begun == [1, 2, 3])
        stage.dispatcher.cancel(UUID(int=1))
        await stage.until(lambda: child.stops == [(1, StopCause.CANCELLED), (2, StopCause.TIMED_OUT)])
        stage.end(child, signal.SIGSEGV)
        await stage.until(lambda: len(stage.heard.outcomes) == 3)
        assert stage.heard.codes() == {1: "TASK_CANCELLED", 2: "TASK_TIMEOUT", 3: "WORKER_CRASHED"}
        assert not stage.heard.returned

    play(scenario)


def test_unstarted_jobs_of_a_child_are_withdrawn() -> None:
    async def scenario(stage: Stage) -> None:
        [child] = stage.children
        await stage.give(1, "async", 100)
        await stage.until(lambda: child.begun == [1])
        child.is_reading = False  # like a child whose event loop is blocked
        await stage.give(2, "def", 100)
        await stage.give(3)
        stage.dispatcher.cancel(UUID(int=3))
        await stage.until(lambda: stage.heard.returned == [2])
        await stage.until(lambda: stage.killed == [child])
        await stage.until(lambda: stage.heard.outcomes)
        assert stage.heard.codes() == {1: "TASK_TIMEOUT"}
        assert stage.heard.returned == [2]

    play(scenario)


def test_a_child_that_is_recycled_is_killed_if_only_a_cancelled_task_is_left() -> None:
    async def scenario(stage: Stage) -> None:
        [old] = stage.children
        await stage.give(1)
        await stage.give(2)
        await stage.until(lambda: len(stage.children) == 2)
        stage.dispatcher.cancel(UUID(int=1))
        await stage.settle()
        assert not stage.killed
        old.finish(2)
        await stage.until(lambda: stage.killed == [old])
        await stage.until(lambda: stage.heard.codes() == {1: "TASK_CANCELLED", 2: None})
        assert len(stage.children) == 2

    play(scenario, max_tasks=2)


def test_children_that_wait_for_their_end_are_bounded_in_number(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "horsies")

    async def scenario(stage: Stage) -> None:
        for number in range(9):
            await stage.until(lambda: stage.dispatcher.capacity)
            await stage.give(2 * number)
            await stage.give(2 * number + 1)
            await stage.until(lambda: len(stage.children[-1].begun) == 2)
            stage.dispatcher.cancel(UUID(int=2 * number))
        await stage.settle()
        assert len(stage.children) == 9
        assert stage.dispatcher.capacity == 0
        assert logged(caplog).count(("child.replacement_delayed", logging.WARNING)) == 1
        stage.children[4].finish(9)
        await stage.until(lambda: stage.dispatcher.capacity)
        assert len(stage.children) == 10
        assert stage.killed == [stage.children[4]]

        await stage.give(100)
        await stage.give(101)
        await stage.until(lambda: stage.children[9].begun == [100, 101])
        stage.dispatcher.cancel(UUID(int=100))
        await stage.settle()
        assert len(stage.children) == 10
        stage.children[0].finish(0, "TASK_CANCELLED")  # its code has ended by itself
        await stage.until(lambda: len(stage.children) == 11)

    play(scenario, concurrency=20)


def test_a_kill_on_purpose_is_not_logged_as_a_death(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "horsies")

    async def scenario(stage: Stage) -> None:
        await stage.give(1)
        await stage.until(lambda: stage.children[0].begun == [1])
        stage.dispatcher.cancel(UUID(int=1))
        await stage.until(lambda: len(stage.children) == 2 and stage.dispatcher.capacity)
        stage.end(stage.children[1], signal.SIGKILL)
        await stage.until(lambda: len(stage.children) == 3)

    play(scenario)
    assert logged(caplog) == [("child.killed", logging.INFO), ("child.died", logging.WARNING)]
