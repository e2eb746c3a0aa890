"""The process manager: keeps one child that takes jobs in each slot of a worker, and handles the ends of children.

It requests forks from the fork server, replaces children, kills them, and reports frames and deaths to its subscriber,
the dispatcher (`horsies.worker.dispatcher`), which decides about jobs.

A slot always has one *current* child. A child that drains is replaced at once:

```
slot 0   current: child 0 ── drain ──> child 0 is a predecessor, and runs its last jobs ── stop ──> dead
                                │
                                └────> start_replacement: child 3 is forked and becomes the current child
```

The replacement counts the active jobs of its predecessors as its own load, so a slot never runs more tasks than
``--concurrency``. Abandoned attempts (they were asked to stop and did not) are not counted, so that they do not take
the place of other tasks.

Every predecessor runs at least one active job, or it is killed. Therefore a slot has at most ``--concurrency``
predecessors at a time. Predecessors that run an abandoned attempt beside active jobs are *blocked*: they cannot be
killed yet. If a slot has more than `_MAX_BLOCKED` of them, it gets no replacement until one of them has ended.

A child is dead once its stream has ended *and* the fork server has reported its wait status, in either order. The
stream may end late: a process that the child has left behind can hold its socket open.
"""

import asyncio
import itertools
import logging
import os
import signal
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from horsies.events import event
from horsies.worker import ipc
from horsies.worker.child_process import Child, ChildState, StopMode, new_channel
from horsies.worker.child_report import ChildReport
from horsies.worker.fork_server import ForkServer
from horsies.worker.ipc import Frame, FrameReader, Kind, describe_end
from horsies.worker.metrics import DeathReason, WorkerCounters
from horsies.worker.options import WorkerOptions
from horsies.worker.runtime.exits import EXIT_WITHIN_S

_READ_BYTES = 1 << 16
_RETRY_SEND_AFTER_S = 0.01
_EARLY_DEATHS_ALLOWED = 3
_CHILD_EXITS_WITHIN_S = EXIT_WITHIN_S + 1.0
_FINAL_FRAMES_WITHIN_S = 1.0
_MAX_BLOCKED = 8


class ChildrenCannotStartError(Exception):
    """Children do not become ready: they report why, or they keep dying before."""


class ForkServerDiedError(Exception):
    """The fork server has died, and its children with it."""


class _ChildChannel(asyncio.Protocol):
    """The supervisor's end of a child's socket."""

    def __init__(self, processes: "ProcessManager", child: Child) -> None:
        self._processes = processes
        self._child = child
        self._reader = FrameReader()

    def data_received(self, data: bytes) -> None:
        self._processes.on_frames(self._child, self._reader.feed(data))

    def connection_lost(self, exc: Exception | None) -> None:
        del exc  # an error on the socket of a child also means that it has ended
        self._processes.on_end_of_stream(self._child)


class ProcessManager:
    """Keeps a child that takes jobs in each of ``options.processes`` slots.

    A child is in several containers at once:

    ==================  ===================  ==================================  ======================================
    container           key                  added when                          removed when
    ==================  ===================  ==================================  ======================================
    ``_children``       number of the child  its fork is requested               it is dead
    ``_by_pid``         process id           FORKED arrives                      EXITED arrives
    ``_current``        slot                 its fork is requested               replaced by None, and then by the next
                                                                                 child, when it must be replaced
    ``predecessors``    (list in the         its replacement's fork is           the replacement is replaced itself;
                        replacement)         requested, if it has jobs left      moves to the next one if it has jobs
    ``_delayed_slots``  slot                 too many predecessors are blocked   a replacement is started in the slot
    ``_forks``          (set of futures)     a replacement is started            the socket of the child is connected
    ==================  ===================  ==================================  ======================================

    Attributes:
        ready: done once the first child can take jobs.
        failed: raises `ChildrenCannotStartError` or `ForkServerDiedError` when no child can be started any more.
    """

    def __init__(
        self, fork_server: ForkServer, name: str, options: WorkerOptions, counters: WorkerCounters | None = None
    ) -> None:
        fork_server.channel.setblocking(False)
        self._fork_server = fork_server
        self._unsent = bytearray()
        self._name = name
        self._options = options
        self._counters = counters
        self._report = ChildReport()
        self._children: dict[int, Child] = {}
        self._numbers = itertools.count()
        self._by_pid: dict[int, Child] = {}
        self._current: dict[int, Child | None] = {}  # by slot; None while a replacement is being forked
        self._delayed_slots: set[int] = set()
        self._early_deaths = 0
        self._forks: set[asyncio.Future[None]] = set()
        self._closing = False
        self._all_left = asyncio.Event()
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def subscribe(
        self, *, on_frames: Callable[[Child, Sequence[Frame]], None], on_death: Callable[[Child], None]
    ) -> None:
        """Set the callbacks.

        Args:
            on_frames: called with the frames that a child has sent, as many as were read together.
            on_death: called once when a child is dead; its jobs have to be settled then.
        """
        self._on_child_frames = on_frames
        self._on_child_death = on_death

    def __iter__(self) -> Iterator[Child]:
        """Iterate over all children that are not known to be dead."""
        return iter(list(self._children.values()))

    async def start(self) -> None:
        """Request a child for each slot."""
        asyncio.get_running_loop().add_reader(self._fork_server.channel.fileno(), self._read_fork_server)
        for slot in range(self._options.processes):
            await self._fork(slot, [])

    async def close(self) -> None:
        """Let the children exit, then the fork server, which kills the children that do not exit in time."""
        self._closing = True
        for child in self:
            if child.transport is not None:
                child.transport.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(_CHILD_EXITS_WITHIN_S):
                while self._by_pid:
                    self._all_left.clear()
                    await self._all_left.wait()
        asyncio.get_running_loop().remove_reader(self._fork_server.channel.fileno())
        self.send_to_fork_server(Frame(Kind.BYE))
        await self._fork_server.wait()

    def send_to_fork_server(self, frame: Frame) -> None:
        """Send a frame to the fork server; if its socket is full, the frame waits in a buffer.

        A request for stack dumps is skipped while other frames wait. If the fork server is dead, the frame is lost;
        `_read_fork_server` detects that.
        """
        if not (self._unsent and frame.kind is Kind.STACKS):
            self._unsent += frame.encode()
            self._send()

    def _send(self) -> None:
        loop, channel = asyncio.get_running_loop(), self._fork_server.channel
        with suppress(BlockingIOError):
            try:
                del self._unsent[: channel.send(self._unsent)]
            except ConnectionError:
                self._unsent.clear()
        if self._unsent:
            loop.add_writer(channel, self._send)
        else:
            loop.remove_writer(channel)

    def kill(self, child: Child, reason: str) -> None:
        """Kill a child on purpose.

        Args:
            child: the child.
            reason: for the log and for the errors of the tasks that it runs.
        """
        child.stop(StopMode.KILL, reason)
        self._send_kill(child)

    def _send_kill(self, child: Child) -> None:
        if child.pid is not None and child.wait_status is None:
            self.send_to_fork_server(ipc.kill(child.pid))

    def kill_unresponsive(self, max_silent_checks: int) -> None:
        """Check the liveness of all children, and kill those without a ping at the last ``max_silent_checks`` checks.

        The interpreter of such a child is stopped, or stuck in foreign code.
        """
        for child in self:
            if child.check_liveness() >= max_silent_checks:
                event("child.hung", slot=child.slot, pid=child.pid, level=logging.WARNING)
                self.kill(child, "its interpreter has stopped responding")

    def drain(self, child: Child, reason: str) -> None:
        """Give a child no more jobs, and start its replacement."""
        if child.drain(reason):
            self.start_replacement(child.slot)

    def start_replacement(self, slot: int) -> None:
        """Start another child in a slot if the current one takes no more jobs, unless too many are blocked."""
        current = self._current[slot]
        if current is None or current.state < ChildState.DRAINING or self._closing or self.failed.done():
            return
        predecessors = [child for child in (*current.predecessors, current) if child.jobs]
        blocked = sum(bool(child.abandoned) for child in predecessors)
        if blocked <= _MAX_BLOCKED:
            self._delayed_slots.discard(slot)
            current.predecessors = []
            self._start_child(slot, predecessors)
        elif slot not in self._delayed_slots:
            self._delayed_slots.add(slot)
            event("child.replacement_delayed", level=logging.WARNING, slot=slot, blocked=blocked)

    def shut_down(self, child: Child) -> None:
        """Let a child exit that runs nothing and has been replaced; kill it if it does not exit in time."""
        child.stop(StopMode.EXIT)
        if child.transport is not None:
            child.transport.close()
        reason = f"it did not exit within {_CHILD_EXITS_WITHIN_S:g} seconds"
        asyncio.get_running_loop().call_later(_CHILD_EXITS_WITHIN_S, self.kill, child, reason)

    def on_frames(self, child: Child, frames: Sequence[Frame]) -> None:
        """Handle the frames that a child has sent and that were read together."""
        for frame in frames:
            if frame.kind is Kind.READY:
                child.pid = ipc.unpack_ready(frame)
                child.mark_ready()
                self._early_deaths = 0
                if not self.ready.done():
                    self.ready.set_result(None)
            elif frame.kind is Kind.FAILED:
                self._fail(ChildrenCannotStartError(frame.body.decode()))
        self._on_child_frames(child, frames)

    def on_end_of_stream(self, child: Child) -> None:
        """Handle the end of a child's stream. If the child was not asked to exit, its process is killed to be sure."""
        child.has_ended = True
        is_expected = self._closing or child.stop_mode is not None  # it was asked to exit, or is being killed
        if not is_expected:
            child.stop(StopMode.LOST)
            self._send_kill(child)
        self._handle_exit(child)

    def _start_child(self, slot: int, predecessors: list[Child]) -> None:
        """Request a child that becomes the current one of its slot."""
        self._current[slot] = None
        fork = asyncio.ensure_future(self._fork(slot, predecessors))
        self._forks.add(fork)
        fork.add_done_callback(self._on_fork_done)

    async def _fork(self, slot: int, predecessors: list[Child]) -> None:
        number, name = next(self._numbers), f"{self._name}/{slot}"
        with new_channel(number, slot, name, concurrency=self._options.concurrency) as (child, ours, files):
            child.predecessors = predecessors
            child.remaining_tasks = self._options.max_tasks_per_child or child.remaining_tasks
            self._children[number] = self._current[slot] = child
            while not self._has_sent(ipc.fork(number), files):  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(_RETRY_SEND_AFTER_S)
        connect = asyncio.get_running_loop().create_unix_connection
        child.transport, _ = await connect(lambda: _ChildChannel(self, child), sock=ours)

    def _has_sent(self, frame: Frame, files: Sequence[int]) -> bool:
        """Send a frame with open files, behind all others; returns False if the socket is full."""
        if self._unsent:
            return False
        with suppress(ConnectionError):
            try:
                socket.send_fds(self._fork_server.channel, [frame.encode()], files)
            except BlockingIOError:
                return False
        return True

    def _on_fork_done(self, fork: asyncio.Future[None]) -> None:
        self._forks.discard(fork)
        error = None if fork.cancelled() else fork.exception()
        if error is not None:  # otherwise the slot would stay empty
            self._fail(ChildrenCannotStartError(f"a child cannot be started: {error}"))

    def _read_fork_server(self) -> None:
        try:
            data = self._fork_server.channel.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            self._on_fork_server_death()
            return
        for frame in self._fork_server.reader.feed(data):
            self._on_fork_server_frame(frame)

    def _on_fork_server_frame(self, frame: Frame) -> None:
        match frame.kind:
            case Kind.FORKED:
                number, pid = ipc.unpack_forked(frame)
                self._on_forked(self._children[number], pid)
            case Kind.EXITED:
                pid, wait_status = ipc.unpack_exited(frame)
                self._on_exited(self._by_pid.pop(pid), wait_status)
            case Kind.FAILED:
                self._fail(ChildrenCannotStartError(frame.body.decode()))
            case _:
                return

    def _on_forked(self, child: Child, pid: int) -> None:
        child.pid = pid
        self._by_pid[pid] = child
        if child.stop_mode in {StopMode.KILL, StopMode.LOST}:  # it was to be killed before its process id was known
            self._send_kill(child)

    def _on_exited(self, child: Child, wait_status: int) -> None:
        """Record the wait status of a child.

        Its stream ends after its final frames. If a process that it left behind holds the socket open, the stream is
        aborted after a moment.
        """
        child.wait_status = wait_status
        if child.transport is not None and not child.has_ended:
            asyncio.get_running_loop().call_later(_FINAL_FRAMES_WITHIN_S, child.transport.abort)
        self._handle_exit(child)
        self._all_left.set()

    def _on_fork_server_death(self) -> None:
        """Settle all children: the kernel has killed them, and this kills what is left of their process groups."""
        asyncio.get_running_loop().remove_reader(self._fork_server.channel.fileno())
        self._closing = True
        for pid, child in self._by_pid.items():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
            child.wait_status = signal.SIGKILL
            child.mark_dead()
            self._on_child_death(child)
        self._by_pid.clear()
        self._fail(ForkServerDiedError("the fork server died, and its children with it"))

    def _handle_exit(self, child: Child) -> None:
        """Once a child is certainly dead: have its jobs settled, and start a replacement if its slot needs one."""
        if not child.has_ended or child.wait_status is None or not child.mark_dead():
            return
        self._on_child_death(child)
        del self._children[child.number]
        if self._closing:
            return
        self._log_exit(child, child.wait_status)
        self._early_deaths += not child.was_ready
        if self._early_deaths > _EARLY_DEATHS_ALLOWED:
            end = describe_end(child.wait_status)
            self._fail(ChildrenCannotStartError(f"children keep dying before they can take work; the last one {end}"))
        self.start_replacement(child.slot)

    def report(self, ahead_s: float) -> str:
        """Return the memory and the last deaths of the children, as a JSON document for `heartbeat`.

        Args:
            ahead_s: by how many seconds the clock of this machine is ahead of that of the database.
        """
        return self._report.document(((child.slot, child.pid) for child in self), self._options.processes, ahead_s)

    @property
    def busy_slots(self) -> int:
        """The number of tasks that run, as far as the limit ``--concurrency`` of each slot counts them."""
        running: Counter[int] = Counter()
        for child in self:
            running[child.slot] += min(child.active_count, child.concurrency)
        return sum(min(count, self._options.concurrency) for count in running.values())

    def _log_exit(self, child: Child, wait_status: int) -> None:
        if child.stop_mode is StopMode.KILL and child.was_killed:
            self._note_death(child, DeathReason.KILLED, child.kill_reason or "")
            event("child.killed", slot=child.slot, pid=child.pid, reason=child.kill_reason)
        elif wait_status or child.stop_mode not in {StopMode.EXIT, StopMode.KILL}:
            cause = describe_end(wait_status)
            self._note_death(child, DeathReason.SIGNAL if os.WIFSIGNALED(wait_status) else DeathReason.EXIT, cause)
            event("child.died", level=logging.WARNING, slot=child.slot, pid=child.pid, cause=cause)

    def _note_death(self, child: Child, reason: DeathReason, cause: str) -> None:
        self._report.note_death(child.slot, child.pid, reason, cause)
        if self._counters is not None:
            self._counters.count_death(reason)

    def _fail(self, error: Exception) -> None:
        if not self.failed.done():
            self.failed.set_exception(error)
