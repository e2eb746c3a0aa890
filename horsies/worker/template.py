"""The template process: imports the app once and forks the children from itself.

It is forked from the main process before that has threads, an event loop or a connection, and stays a plain loop over
one socket, so forking from it is safe and quick, and children share its memory. It alone forks, reaps and kills.

It also guards the promise that nothing runs on unseen:

- *Last will.* The end of the supervisor's stream means the supervisor is dead. The template kills all children, and
  then tells the database, which hands their work on: the deaths are proven, so nobody has to wait for a threshold.
- *Watchdog.* A supervisor that is stopped cannot stop its children before others take their work for abandoned. Each
  confirmed heartbeat sets a new deadline; when it passes, the template kills the children.
- Children are killed by the kernel when the template dies (on Linux).
"""

import asyncio
import ctypes
import gc
import os
import pickle
import selectors
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

import psycopg

from horsies.db import calls_worker
from horsies.db.connect import Database
from horsies.errors import ErrorCode, HorsiesError
from horsies.worker import protocol
from horsies.worker.protocol import Frame, FrameReader, Kind
from horsies.worker.settings import suspend_clock

if TYPE_CHECKING:
    from types import FrameType

_READ_BYTES = 1 << 16
_REAP_MOST = 1000
_LEAVE_WITHIN_S = 5.0
_PR_SET_PDEATHSIG = 1
_START_FAILED = 70

type ChildMain = Callable[[socket.socket, int], None]


@dataclass(frozen=True, slots=True)
class Template:
    """What the import of an app gives the template process.

    Attributes:
        settings: pickled, for the supervisor.
        database: for the last will.
        child_main: what a child does with its socket and its pipe of permits.
    """

    settings: bytes
    database: Database
    child_main: ChildMain


@dataclass(frozen=True, slots=True)
class StartErrors:
    """Why the app can't be served."""

    errors: tuple[HorsiesError, ...]


class TemplateProcess:
    """The supervisor's end: the process and its socket."""

    def __init__(self, pid: int, channel: socket.socket) -> None:
        """Made by `fork_template`."""
        self.pid = pid
        self.channel = channel
        self.reader = FrameReader()

    def loaded(self) -> bytes | StartErrors:
        """Wait for the import: the app's settings, or why it can't be served."""
        while data := self.channel.recv(_READ_BYTES):
            for frame in self.reader.feed(data):
                message = pickle.loads(frame.body)  # noqa: S301 - from our own fork
                return message if isinstance(message, StartErrors) else frame.body
        status = os.waitpid(self.pid, 0)[1]
        problem = f"the process that imports the app {protocol.describe_end(status)} while it did"
        return StartErrors((HorsiesError(ErrorCode.MODULE_EXEC_ERROR, problem),))

    async def wait(self) -> None:
        """See the process leave after BYE, or make it."""
        leaving = asyncio.ensure_future(asyncio.to_thread(os.waitpid, self.pid, 0))
        await asyncio.wait([leaving], timeout=_LEAVE_WITHIN_S)
        if not leaving.done():
            os.kill(self.pid, signal.SIGKILL)
        await leaving
        self.channel.close()


def fork_template(load: Callable[[], Template | StartErrors]) -> TemplateProcess:
    """Fork the template process from a process that has one thread.

    Args:
        load: imports and checks the app; called in the new process.
    """
    ours, theirs = socket.socketpair()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _be_template(theirs, load)
    theirs.close()
    return TemplateProcess(pid, ours)


def _be_template(channel: socket.socket, load: Callable[[], Template | StartErrors]) -> None:
    """The life of the template process; never returns."""
    status = _START_FAILED
    try:
        os.setsid()  # a Ctrl-C in the terminal is for the supervisor
        loaded = load()
        if isinstance(loaded, Template):
            loaded = _refuse_threads() or loaded
        message = pickle.dumps(loaded) if isinstance(loaded, StartErrors) else loaded.settings
        with suppress(ConnectionError):  # a supervisor that died meanwhile is noticed by the end of its stream
            channel.sendall(Frame(Kind.LOADED, message).encode())
        if isinstance(loaded, Template):
            gc.collect()
            gc.freeze()
            _Loop(channel, loaded).run()
        status = 0
    except BaseException:  # noqa: BLE001 - the last frame of this process
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _refuse_threads() -> StartErrors | None:
    """A fork takes one thread with it: the others' locks would stay locked for ever in the children."""
    others = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    if not others:
        return None
    return StartErrors(
        (
            HorsiesError(
                ErrorCode.MODULE_EXEC_ERROR,
                f"importing the app left threads running: {', '.join(others)}",
                help_text="start threads, pools and clients in tasks or at first use, not when a module is imported",
            ),
        )
    )


class _Loop:
    """The template process after the import."""

    def __init__(self, channel: socket.socket, template: Template) -> None:
        self._channel = channel
        self._template = template
        self._reader = FrameReader()
        self._files: list[int] = []
        self._children: set[int] = set()
        self._worker_id: UUID | None = None
        self._deadline: float | None = None

    def run(self) -> None:
        """Serve the supervisor until it says BYE or is gone."""
        self._catch_signals()
        with selectors.DefaultSelector() as selector:
            selector.register(self._channel, selectors.EVENT_READ)
            selector.register(self._wakeup, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select(self._patience())}
                self._watch_the_clock()
                if self._wakeup in ready:
                    self._wakeup.recv(_READ_BYTES)
                    self._reap_children()
                if self._channel in ready and not self._serve():
                    return

    def _catch_signals(self) -> None:
        self._wakeup, wakeup_in = socket.socketpair()
        self._wakeup_in = wakeup_in
        wakeup_in.setblocking(False)
        signal.set_wakeup_fd(wakeup_in.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _do_nothing)
        for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(ignored, signal.SIG_IGN)

    def _patience(self) -> float | None:
        return None if self._deadline is None else max(0.0, self._deadline - suspend_clock())

    def _watch_the_clock(self) -> None:
        if self._deadline is not None and suspend_clock() >= self._deadline:
            self._deadline = None
            self._kill_all()

    def _serve(self) -> bool:
        """Carry out what the supervisor asks; False when it is time to leave."""
        try:
            data, fds, _flags, _address = socket.recv_fds(self._channel, _READ_BYTES, 64)
        except ConnectionError:
            data, fds = b"", []
        self._files += fds
        if not data:
            self._last_will()
            return False
        return all(self._obey(frame) for frame in self._reader.feed(data))

    def _obey(self, frame: Frame) -> bool:
        match frame.kind:
            case Kind.FORK:
                slot, _ = protocol.unpack_pid(frame)
                self._fork(slot, socket.socket(fileno=self._files.pop(0)), self._files.pop(0))
            case Kind.KILL:
                _, pid = protocol.unpack_pid(frame)
                self._kill(pid)
            case Kind.TICK:
                self._deadline = suspend_clock() + protocol.unpack_tick(frame)
            case Kind.WORKER:
                self._worker_id = UUID(bytes=frame.body)
            case _:
                self._kill_all()
                return False
        return True

    def _fork(self, slot: int, channel: socket.socket, permits: int) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        template_pid = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._be_child(channel, permits, template_pid)
        self._children.add(pid)
        channel.close()
        os.close(permits)
        self._tell(protocol.forked(slot, pid))

    def _be_child(self, channel: socket.socket, permits: int, template_pid: int) -> None:
        """The life of a child; never returns."""
        status = _START_FAILED
        try:
            os.setsid()
            _die_with_parent(template_pid)
            signal.set_wakeup_fd(-1)
            for reset in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
                signal.signal(reset, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            for inherited in (self._channel, self._wakeup, self._wakeup_in):
                inherited.close()
            self._template.child_main(channel, permits)
            status = 0
        except BaseException:  # noqa: BLE001 - the last frame of this process
            traceback.print_exc()
        finally:
            with suppress(OSError, ValueError):  # user code may have closed them
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def _reap_children(self) -> None:
        while True:
            try:
                pid, wait_status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self._children:
                self._children.discard(pid)
                _kill_group(pid)  # what it started and left behind
                self._tell(protocol.exited(pid, wait_status))

    def _tell(self, frame: Frame) -> None:
        with suppress(ConnectionError):  # a dead supervisor is noticed by the end of its stream
            self._channel.sendall(frame.encode())

    def _kill(self, pid: int) -> None:
        if pid in self._children:
            _kill_group(pid)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)  # it may not have a group of its own yet

    def _kill_all(self) -> None:
        for pid in list(self._children):
            self._kill(pid)

    def _last_will(self) -> None:
        """The supervisor is dead: end the children, see them dead, and say so to the database."""
        self._kill_all()
        for pid in self._children:
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)
        if self._worker_id is None:
            return
        with suppress(psycopg.Error), self._template.database.connect() as connection:
            call = calls_worker.reap(self._worker_id, _REAP_MOST)
            connection.execute(self._template.database.statement(call), call.params)


def _die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when its parent dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent_pid:  # it died before we asked
            os._exit(_START_FAILED)


def _kill_group(leader: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def _do_nothing(_signal: int, _frame: "FrameType | None") -> None:
    """A handler, so that the signal reaches the wake-up socket."""
