"""The child processes of a worker, seen from the supervisor: it has them forked, replaced, killed, and sees them dead.

What they run is the business of `horsies.worker.dispatcher`. A child that takes no more work has a successor at once:
both belong to one slot, and the successor counts what its predecessors still run as its own load, so a slot never runs
more tasks than ``--concurrency``. Attempts that were told to stop and did not are not counted: they must not take the
place of other tasks.

Every predecessor runs at least one task that counts, or it is killed. A slot has therefore at most as many predecessors
as tasks that it may run at once. Those that wait for the end of other tasks before they can be killed are bounded
further: beyond `_MOST_BLOCKED`, the slot gets no successor before one of them has ended.
"""

import asyncio
import itertools
import logging
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Protocol

from horsies.events import event
from horsies.worker import ipc
from horsies.worker.child_process import Child, ChildState, StopMode, new_channel
from horsies.worker.fork_server import ForkServer
from horsies.worker.ipc import Frame, FrameReader, Kind, describe_end
from horsies.worker.options import WorkerOptions
from horsies.worker.runtime.exits import EXIT_WITHIN_S

_READ_BYTES = 1 << 16
_ROOM_AFTER_S = 0.01
_EARLY_DEATHS_ALLOWED = 3
_LEAVE_WITHIN_S = EXIT_WITHIN_S + 1.0
_LAST_WORDS_WITHIN_S = 1.0
_MOST_BLOCKED = 8


class ChildrenCannotStartError(Exception):
    """Children do not get ready to work: they say why not, or keep dying before."""


class ForkServerDiedError(Exception):
    """The fork server is gone, and the children with it."""


class CrewListener(Protocol):
    """Who is told of the children."""

    def on_frame(self, child: Child, frame: Frame) -> None:
        """A child said something."""
        ...

    def on_death(self, child: Child) -> None:
        """A child is dead: what it was given is to be settled."""
        ...


class _ChildChannel(asyncio.Protocol):
    """The supervisor's end of a child's socket."""

    def __init__(self, processes: "ProcessManager", child: Child) -> None:
        self._processes = processes
        self._child = child
        self._reader = FrameReader()

    def data_received(self, data: bytes) -> None:
        for frame in self._reader.feed(data):
            self._processes.on_frame(self._child, frame)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc  # an error on a child's socket is an end of it, too
        self._processes.on_end_of_stream(self._child)


class ProcessManager:
    """Keeps a child that takes work in each of ``options.processes`` slots.

    Attributes:
        ready: done once a child can take work.
        failed: raises `ChildrenCannotStartError` or `ForkServerDiedError` once that can't be done any more.
    """

    def __init__(self, fork_server: ForkServer, name: str, options: WorkerOptions) -> None:
        """Take by which name the children are to be known."""
        fork_server.channel.setblocking(False)
        self._fork_server = fork_server
        self._unsent = bytearray()
        self._name = name
        self._options = options
        self._children: dict[int, Child] = {}
        self._numbers = itertools.count()
        self._by_pid: dict[int, Child] = {}
        self._current: dict[int, Child | None] = {}  # by slot; None: the next child is about to be forked
        self._delayed_slots: set[int] = set()
        self._early_deaths = 0
        self._forks: set[asyncio.Future[None]] = set()
        self._closing = False
        self._all_left = asyncio.Event()
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def serve(self, listener: CrewListener) -> None:
        """Take who is told of the children."""
        self._listener = listener

    def __iter__(self) -> Iterator[Child]:
        """All children that are not known to be dead."""
        return iter(list(self._children.values()))

    async def start(self) -> None:
        """Have all children forked."""
        asyncio.get_running_loop().add_reader(self._fork_server.channel.fileno(), self._read_fork_server)
        for slot in range(self._options.processes):
            await self._fork(slot, [])

    async def close(self) -> None:
        """Let the children go, then the fork server; whoever does not leave is killed by the fork server."""
        self._closing = True
        for child in self:
            if child.transport is not None:
                child.transport.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LEAVE_WITHIN_S):
                while self._by_pid:
                    self._all_left.clear()
                    await self._all_left.wait()
        asyncio.get_running_loop().remove_reader(self._fork_server.channel.fileno())
        self.send_to_fork_server(Frame(Kind.BYE))
        await self._fork_server.wait()

    def send_to_fork_server(self, frame: Frame) -> None:
        """Send a frame to the fork server, or keep it until its socket has room; asking for stacks can be left.

        That it is dead is noticed when reading.
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
            child: which one.
            reason: why, for the log and for the errors of the tasks that it runs.
        """
        child.stop(StopMode.KILL, reason)
        self._send_kill(child)

    def _send_kill(self, child: Child) -> None:
        if child.pid is not None and child.wait_status is None:
            self.send_to_fork_server(ipc.kill(child.pid))

    def kill_silent(self, looks: int) -> None:
        """Kill children whose interpreter gave no sign of life at the last ``looks`` looks: it is stopped, or stuck."""
        for child in self:
            if child.look() >= looks:
                event("child.hung", slot=child.slot, pid=child.pid, level=logging.WARNING)
                self.kill(child, "its interpreter has stopped responding")

    def drain(self, child: Child, reason: str) -> None:
        """Give a child no more work; another one takes its slot while it ends."""
        if child.drain(reason):
            self.replace_current(child.slot)

    def replace_current(self, slot: int) -> None:
        """Start another child in a slot if the current one takes no more work, and not too many wait for their end."""
        current = self._current[slot]
        if current is None or current.state < ChildState.DRAINING or self._closing or self.failed.done():
            return
        predecessors = [child for child in (*current.predecessors, current) if child.jobs]
        blocked = sum(bool(child.abandoned) for child in predecessors)
        if blocked <= _MOST_BLOCKED:
            self._delayed_slots.discard(slot)
            current.predecessors = []
            self._start_child(slot, predecessors)
        elif slot not in self._delayed_slots:
            self._delayed_slots.add(slot)
            event("child.replacement_delayed", level=logging.WARNING, slot=slot, blocked=blocked)

    def shut_down(self, child: Child) -> None:
        """Let a child exit that runs nothing and has been replaced."""
        child.stop(StopMode.EXIT)
        if child.transport is not None:
            child.transport.close()
        reason = f"it did not exit within {_LEAVE_WITHIN_S:g} seconds"
        asyncio.get_running_loop().call_later(_LEAVE_WITHIN_S, self.kill, child, reason)

    def on_frame(self, child: Child, frame: Frame) -> None:
        """A child said something."""
        if frame.kind is Kind.READY:
            child.pid = ipc.unpack_pid(frame)[1]
            child.mark_ready()
            self._early_deaths = 0
            if not self.ready.done():
                self.ready.set_result(None)
        elif frame.kind is Kind.FAILED:
            self._fail(ChildrenCannotStartError(frame.body.decode()))
        self._listener.on_frame(child, frame)

    def on_end_of_stream(self, child: Child) -> None:
        """A child's socket is closed: it is dead, or as good as dead."""
        child.has_ended = True
        if not self._closing:
            child.stop(StopMode.LOST)
            if child.stop_mode is StopMode.LOST:
                self._send_kill(child)
        self._handle_exit(child)

    def _start_child(self, slot: int, predecessors: list[Child]) -> None:
        """Have a child forked that becomes the current one of its slot."""
        self._current[slot] = None
        fork = asyncio.ensure_future(self._fork(slot, predecessors))
        self._forks.add(fork)
        fork.add_done_callback(self._on_fork_done)

    async def _fork(self, slot: int, predecessors: list[Child]) -> None:
        number, name = next(self._numbers), f"{self._name}/{slot}"
        with new_channel(number, slot, name, concurrency=self._options.concurrency) as (child, ours, files):
            child.predecessors = predecessors
            child.left = self._options.max_tasks_per_child or child.left
            self._children[number] = self._current[slot] = child
            while not self._has_sent(ipc.fork(number), files):  # noqa: ASYNC110 - nobody says that there is room
                await asyncio.sleep(_ROOM_AFTER_S)
        connect = asyncio.get_running_loop().create_unix_connection
        child.transport, _ = await connect(lambda: _ChildChannel(self, child), sock=ours)

    def _has_sent(self, frame: Frame, files: Sequence[int]) -> bool:
        """Send a frame with open files, behind all others; False: the socket has no room."""
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
        if error is not None:  # its slot would stay empty
            self._fail(ChildrenCannotStartError(f"a child can't be started: {error}"))

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
            if frame.kind is Kind.FAILED:
                self._fail(ChildrenCannotStartError(frame.body.decode()))
                continue
            number, pid = ipc.unpack_pid(frame)
            if frame.kind is Kind.FORKED:
                self._on_forked(self._children[number], pid)
            else:
                self._on_exited(self._by_pid.pop(pid), number)

    def _on_forked(self, child: Child, pid: int) -> None:
        child.pid = pid
        self._by_pid[pid] = child
        if child.stop_mode in {StopMode.KILL, StopMode.LOST}:  # which came before its id was known
            self._send_kill(child)

    def _on_exited(self, child: Child, wait_status: int) -> None:
        """A child is dead. Its stream ends behind its last words, unless a process it left behind holds it open."""
        child.wait_status = wait_status
        if child.transport is not None and not child.has_ended:
            asyncio.get_running_loop().call_later(_LAST_WORDS_WITHIN_S, child.transport.abort)
        self._handle_exit(child)
        self._all_left.set()

    def _on_fork_server_death(self) -> None:
        """The kernel kills the children of a dead fork server; what they left in their groups, we do."""
        asyncio.get_running_loop().remove_reader(self._fork_server.channel.fileno())
        self._closing = True
        for pid, child in self._by_pid.items():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
            child.wait_status = signal.SIGKILL
            child.mark_dead()
            self._listener.on_death(child)
        self._by_pid.clear()
        self._fail(ForkServerDiedError("the fork_server process died, and its children with it"))

    def _handle_exit(self, child: Child) -> None:
        """Once a child is surely dead: settle what it was given, and see that its slot has another one."""
        if not child.has_ended or child.wait_status is None or not child.mark_dead():
            return
        self._listener.on_death(child)
        del self._children[child.number]
        if self._closing:
            return
        self._log_exit(child, child.wait_status)
        self._early_deaths += not child.was_ready
        if self._early_deaths > _EARLY_DEATHS_ALLOWED:
            end = describe_end(child.wait_status)
            self._fail(ChildrenCannotStartError(f"children keep dying before they can take work; the last one {end}"))
        self.replace_current(child.slot)

    def _log_exit(self, child: Child, wait_status: int) -> None:
        if child.stop_mode is StopMode.KILL and child.was_killed:
            event("child.killed", slot=child.slot, pid=child.pid, reason=child.kill_reason)
        elif wait_status or child.stop_mode not in {StopMode.EXIT, StopMode.KILL}:
            cause = describe_end(wait_status)
            event("child.died", level=logging.WARNING, slot=child.slot, pid=child.pid, cause=cause)

    def _fail(self, error: Exception) -> None:
        if not self.failed.done():
            self.failed.set_exception(error)
