"""The child processes of a worker, seen from the supervisor: had forked, judged dead, replaced, let go.

What they run is the business of `horsies.worker.pool`. A child that takes no more work has a successor at once: both
belong to one slot, and the successor counts what its elders still run as its own load, so a slot never runs too much.
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

from horsies.telemetry import event
from horsies.worker import protocol
from horsies.worker.children import Child, new_channel
from horsies.worker.exits import EXIT_WITHIN_S
from horsies.worker.protocol import Frame, FrameReader, Kind, describe_end
from horsies.worker.settings import WorkerOptions
from horsies.worker.template import TemplateProcess

_READ_BYTES = 1 << 16
_ROOM_AFTER_S = 0.01
_EARLY_DEATHS_ALLOWED = 3
_LEAVE_WITHIN_S = EXIT_WITHIN_S + 1.0
_LAST_WORDS_WITHIN_S = 1.0


class ChildrenCannotStartError(Exception):
    """Children do not get ready to work: they say why not, or keep dying before."""


class TemplateDiedError(Exception):
    """The template process is gone, and the children with it."""


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

    def __init__(self, crew: "Crew", child: Child) -> None:
        self._crew = crew
        self._child = child
        self._reader = FrameReader()

    def data_received(self, data: bytes) -> None:
        for frame in self._reader.feed(data):
            self._crew.on_frame(self._child, frame)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc  # an error on a child's socket is an end of it, too
        self._crew.on_end_of_stream(self._child)


class Crew:
    """Keeps a child that takes work in each of ``options.processes`` slots.

    Attributes:
        ready: done once a child can take work.
        failed: raises `ChildrenCannotStartError` or `TemplateDiedError` once that can't be done any more.
    """

    def __init__(self, template: TemplateProcess, name: str, options: WorkerOptions) -> None:
        """Take by which name the children are to be known."""
        template.channel.setblocking(False)
        self._template = template
        self._unsent = bytearray()
        self._name = name
        self._options = options
        self._children: dict[int, Child] = {}
        self._numbers = itertools.count()
        self._by_pid: dict[int, Child] = {}
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
        asyncio.get_running_loop().add_reader(self._template.channel.fileno(), self._read_template)
        for slot in range(self._options.processes):
            await self._fork(slot, [])

    async def close(self) -> None:
        """Let the children go, then the template process; whoever does not leave is killed by the template."""
        self._closing = True
        for child in self:
            if child.transport is not None:
                child.transport.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LEAVE_WITHIN_S):
                while self._by_pid:
                    self._all_left.clear()
                    await self._all_left.wait()
        asyncio.get_running_loop().remove_reader(self._template.channel.fileno())
        self.tell_template(Frame(Kind.BYE))
        await self._template.wait()

    def tell_template(self, frame: Frame) -> None:
        """Send a frame to the template process, or keep it until its socket has room; asking for stacks can be left.

        That it is dead is noticed when reading.
        """
        if not (self._unsent and frame.kind is Kind.STACKS):
            self._unsent += frame.encode()
            self._send()

    def _send(self) -> None:
        loop, channel = asyncio.get_running_loop(), self._template.channel
        with suppress(BlockingIOError):
            try:
                del self._unsent[: channel.send(self._unsent)]
            except ConnectionError:
                self._unsent.clear()
        if self._unsent:
            loop.add_writer(channel, self._send)
        else:
            loop.remove_writer(channel)

    def kill(self, child: Child) -> None:
        """Have a child killed."""
        if child.pid is not None and child.wait_status is None:
            self.tell_template(protocol.kill(child.pid))

    def kill_silent(self, looks: int) -> None:
        """Have children killed of whose interpreter nothing was heard for so many looks: stopped, or stuck."""
        for child in self:
            if child.look() >= looks:
                event("child.hung", slot=child.slot, pid=child.pid, level=logging.WARNING)
                self.kill(child)

    def succeed(self, child: Child) -> None:
        """Put another child in the slot of one that takes no more work, or is dead."""
        if self._closing or self.failed.done():
            return
        elders = [elder for elder in (*child.elders, child) if elder.jobs]
        child.elders = []
        fork = asyncio.ensure_future(self._fork(child.slot, elders))
        self._forks.add(fork)
        fork.add_done_callback(self._on_fork_done)

    def dismiss(self, child: Child) -> None:
        """Let a child go that has a successor and runs nothing."""
        child.is_dismissed = True
        if child.transport is not None:
            child.transport.close()
        asyncio.get_running_loop().call_later(_LEAVE_WITHIN_S, self.kill, child)

    def on_frame(self, child: Child, frame: Frame) -> None:
        """A child said something."""
        if frame.kind is Kind.READY:
            child.is_ready = child.was_ready = True
            self._early_deaths = 0
            if not self.ready.done():
                self.ready.set_result(None)
        elif frame.kind is Kind.FAILED:
            self._fail(ChildrenCannotStartError(frame.body.decode()))
        self._listener.on_frame(child, frame)

    def on_end_of_stream(self, child: Child) -> None:
        """A child's socket is closed: it is dead, or as good as dead."""
        child.has_ended = True
        child.is_ready = False
        if not (self._closing or child.is_dismissed):
            self.kill(child)
        self._judge(child)

    async def _fork(self, slot: int, elders: list[Child]) -> None:
        number, name = next(self._numbers), f"{self._name}/{slot}"
        has_permits = self._options.concurrency == 1
        with new_channel(number, slot, name, has_permits=has_permits) as (child, ours, files):
            child.elders = elders
            child.left = self._options.max_tasks_per_child or child.left
            self._children[number] = child
            while not self._has_sent(protocol.fork(number), files):  # noqa: ASYNC110 - nobody says that there is room
                await asyncio.sleep(_ROOM_AFTER_S)
        connect = asyncio.get_running_loop().create_unix_connection
        child.transport, _ = await connect(lambda: _ChildChannel(self, child), sock=ours)

    def _has_sent(self, frame: Frame, files: Sequence[int]) -> bool:
        """Send a frame with open files, behind all others; False: the socket has no room."""
        if self._unsent:
            return False
        with suppress(ConnectionError):
            try:
                socket.send_fds(self._template.channel, [frame.encode()], files)
            except BlockingIOError:
                return False
        return True

    def _on_fork_done(self, fork: asyncio.Future[None]) -> None:
        self._forks.discard(fork)
        error = None if fork.cancelled() else fork.exception()
        if error is not None:  # its slot would stay empty
            self._fail(ChildrenCannotStartError(f"a child can't be started: {error}"))

    def _read_template(self) -> None:
        try:
            data = self._template.channel.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            self._template_died()
            return
        for frame in self._template.reader.feed(data):
            if frame.kind is Kind.FAILED:
                self._fail(ChildrenCannotStartError(frame.body.decode()))
                continue
            number, pid = protocol.unpack_pid(frame)
            if frame.kind is Kind.FORKED:
                self._on_forked(self._children[number], pid)
            else:
                self._on_exited(self._by_pid.pop(pid), number)

    def _on_forked(self, child: Child, pid: int) -> None:
        child.pid = pid
        self._by_pid[pid] = child
        if child.has_ended and not self._closing:
            self.kill(child)

    def _on_exited(self, child: Child, wait_status: int) -> None:
        """A child is dead. Its stream ends behind its last words, unless a process it left behind holds it open."""
        child.wait_status = wait_status
        if child.transport is not None and not child.has_ended:
            asyncio.get_running_loop().call_later(_LAST_WORDS_WITHIN_S, child.transport.abort)
        self._judge(child)
        self._all_left.set()

    def _template_died(self) -> None:
        """The kernel kills the children of a dead template; what they left in their groups, we do."""
        asyncio.get_running_loop().remove_reader(self._template.channel.fileno())
        self._closing = True
        for pid, child in self._by_pid.items():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
            child.wait_status = signal.SIGKILL
            self._listener.on_death(child)
        self._by_pid.clear()
        self._fail(TemplateDiedError("the template process died, and its children with it"))

    def _judge(self, child: Child) -> None:
        """Once a child is surely dead: have it buried, and see that its slot has another one."""
        if not child.has_ended or child.wait_status is None:
            return
        self._listener.on_death(child)
        del self._children[child.number]
        if self._closing:
            return
        end = describe_end(child.wait_status)
        if child.wait_status or not child.is_dismissed:
            event("child.died", slot=child.slot, pid=child.pid, cause=end)
        self._early_deaths += not child.was_ready
        if self._early_deaths > _EARLY_DEATHS_ALLOWED:
            self._fail(ChildrenCannotStartError(f"children keep dying before they can take work; the last one {end}"))
        if child.retired_for is None:
            self.succeed(child)

    def _fail(self, error: Exception) -> None:
        if not self.failed.done():
            self.failed.set_exception(error)
