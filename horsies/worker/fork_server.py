"""The fork server: imports the app once and forks the children from itself.

The main process forks it before it has threads, an event loop or a connection itself. The fork server runs a plain loop
over one socket, so forking from it is safe and fast, and the children share its memory. No other process forks, reaps
or kills children.

```
IMPORTING ── the app cannot be served ──> StartErrors frame, exit
    │
    └── LOADED frame ──> SERVING ──┬── BYE ──────────────────────> kill all children, exit
                          │    ^   │
         FORK, KILL, TICK,│    │   └── the supervisor's stream ──> on_supervisor_death: kill all children, wait for
         STACKS, SIGCHLD  └────┘       ends                        their ends, reap the worker's tasks, exit
```

With the start method ``fork``, an app whose import leaves threads running cannot be served. With ``spawn``, the fork
server and the children are fresh interpreters, and each of them imports the app. Everything else is the same.

The fork server also makes sure that no task runs unsupervised:

- *Death of the supervisor.* The end of the supervisor's stream means that the supervisor is dead. The fork server kills
  all children, then reports the worker as dead to the database, which recovers its tasks. The deaths are proven, so no
  heartbeat threshold has to pass first.
- *Watchdog.* A supervisor that is stopped (SIGSTOP) cannot kill its children before other workers recover their tasks.
  Each confirmed heartbeat sets a new deadline with a TICK frame. When the deadline passes, the fork server kills the
  children.
- *Death of the fork server.* The kernel kills the children (on Linux).
"""

import asyncio
import ctypes
import faulthandler
import gc
import os
import pickle
import select
import selectors
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

import psycopg

from horsies.db.connect import Database
from horsies.db.operations import CallFailedError
from horsies.db.pipeline import round_trip
from horsies.db.queries import worker as worker_queries
from horsies.errors import ErrorCode, HorsiesError
from horsies.process import STOP_SIGNALS, StopSignals, adopt_socket, socket_pair
from horsies.worker import ipc
from horsies.worker.attempt_log import log_reaped
from horsies.worker.ipc import Frame, FrameReader, Kind
from horsies.worker.options import StartMethod, suspend_clock
from horsies.worker.refusals import Refusals
from horsies.worker.runtime.exits import prepare_for_children
from horsies.worker.spawn import (
    START_FAILED,
    leftover_threads_error,
    log_native_threads,
    monkey_patch_error,
    start_process,
)

if TYPE_CHECKING:
    from types import FrameType

_READ_BYTES = 1 << 16
MAX_REAPED = 1000
_LEAVE_WITHIN_S = 5.0
_STACK_DUMP_INTERVAL_S = 0.05  # otherwise the lines of several processes would mix
_REAP_PAUSES_S = (0.0, 0.2, 0.5, 1.0, 2.0)  # the database may be unavailable, which may even be why the supervisor died
_PR_SET_PDEATHSIG = 1

type ChildMain = Callable[[socket.socket, int, int], None]


@dataclass(frozen=True, slots=True)
class LoadedApp:
    """An app that was imported and checked.

    Attributes:
        settings: the pickled `WorkerSettings`, for the supervisor.
        give_up_after_s: the worker ends if the operating system refuses every child for this many seconds.
        database: where the fork server reports the death of the supervisor.
        child_main: the main function of a child. It is called with the socket, the pipe of start tokens and the pipe
            of liveness pings, and is pickled for a fresh interpreter.
    """

    settings: bytes
    give_up_after_s: float
    database: Database
    child_main: ChildMain


@dataclass(frozen=True, slots=True)
class StartErrors:
    """The reasons why an app cannot be served, and the folders in which a change may fix them."""

    errors: tuple[HorsiesError, ...]
    folders: tuple[str, ...] = ()


class ForkServer:
    """The fork server as the supervisor sees it: its process id and socket."""

    def __init__(self, pid: int, channel: socket.socket) -> None:
        self.pid = pid
        self.channel = channel
        self.reader = FrameReader()

    def loaded(self, signals: StopSignals) -> bytes | StartErrors | signal.Signals:
        """Wait until the app is imported and checked.

        Returns:
            The pickled settings of the app, the reasons why it cannot be served, or a stop signal that arrived first.
        """
        with selectors.DefaultSelector() as selector:
            selector.register(self.channel, selectors.EVENT_READ)
            selector.register(signals, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select()}
                stop = next(iter(signals.take()), None) if signals in ready else None
                if stop is not None:
                    return stop
                if self.channel in ready:
                    data = self.channel.recv(_READ_BYTES)
                    if not data:
                        return self._died()
                    for frame in self.reader.feed(data):
                        message = pickle.loads(frame.body)  # noqa: S301 - from our own fork
                        return message if isinstance(message, StartErrors) else frame.body

    def _died(self) -> StartErrors:
        status = os.waitpid(self.pid, 0)[1]
        problem = f"the process that imports the app {ipc.describe_end(status)} during the import"
        return StartErrors((HorsiesError(ErrorCode.MODULE_EXEC_ERROR, problem),))

    def kill(self) -> None:
        """Kill the process while it imports the app."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.channel.close()

    async def wait(self) -> None:
        """Wait for the process to exit after BYE; kill it if it does not exit in time."""
        leaving = asyncio.ensure_future(asyncio.to_thread(os.waitpid, self.pid, 0))
        await asyncio.wait([leaving], timeout=_LEAVE_WITHIN_S)
        if not leaving.done():
            os.kill(self.pid, signal.SIGKILL)
        await leaving
        self.channel.close()


def start_fork_server(
    load: Callable[[], LoadedApp | StartErrors], method: StartMethod, signals: StopSignals
) -> ForkServer:
    """Start the fork server. With the method ``fork``, this process must have one thread only.

    Args:
        load: imports and checks the app; called in the new process.
        method: how the fork server and the children are started.
        signals: the stop signals of this process; a fork must not inherit them.

    Raises:
        OSError: the operating system refuses to start another process.
    """
    ours, theirs = socket_pair()
    with theirs:
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # a signal between fork and setsid is for this process
        try:
            process_main = partial(_fork_server_main, load, method)
            pid = start_process(method, process_main, [theirs.fileno()], [ours, *signals.sockets])
        except OSError:
            ours.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    return ForkServer(pid, ours)


def _fork_server_main(load: Callable[[], LoadedApp | StartErrors], method: StartMethod, file: int) -> None:
    """Run the fork server: the main function of its process."""
    with adopt_socket(file) as channel:
        loaded = load()
        if isinstance(loaded, LoadedApp):
            problem = monkey_patch_error(method)
            if method == "fork":
                problem = problem or leftover_threads_error("importing the app left threads running")
            if problem is None:
                log_native_threads(method)
            loaded = loaded if problem is None else StartErrors((problem,))
        message = pickle.dumps(loaded) if isinstance(loaded, StartErrors) else loaded.settings
        with suppress(ConnectionError):  # the end of its stream tells if the supervisor has died meanwhile
            channel.sendall(Frame(Kind.LOADED, message).encode())
        if isinstance(loaded, LoadedApp):
            gc.collect()
            if method == "fork":
                prepare_for_children()
            gc.freeze()
            _Loop(channel, loaded, method).run()


def _child_main(fork_server_pid: int, child_main: ChildMain, channel: int, tokens: int, liveness_pipe: int) -> None:
    """Prepare a new child process, and run its main function."""
    _die_with_parent(fork_server_pid)
    signal.set_wakeup_fd(-1)
    for reset in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
        signal.signal(reset, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    faulthandler.register(signal.SIGQUIT, file=2)
    with adopt_socket(channel) as ours:
        child_main(ours, tokens, liveness_pipe)


@dataclass(frozen=True, slots=True)
class _WaitingFork:
    """A child that was asked for and is not started yet, and the files that are for it."""

    number: int
    files: list[int]


class _Loop:
    """The fork server after the import."""

    def __init__(self, channel: socket.socket, app: LoadedApp, method: StartMethod) -> None:
        self._channel = channel
        self._app = app
        self._method: StartMethod = method
        self._reader = FrameReader()
        self._received_files: list[int] = []
        self._children: set[int] = set()
        self._waiting: deque[_WaitingFork] = deque()
        self._refusals = Refusals(app.give_up_after_s)
        self._worker_id: UUID | None = None
        self._deadline: float | None = None

    def run(self) -> None:
        """Serve the supervisor until it says BYE or is gone."""
        self._catch_signals()
        with self._wakeup, self._wakeup_in, selectors.DefaultSelector() as selector:
            selector.register(self._channel, selectors.EVENT_READ)
            selector.register(self._wakeup, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select(self._select_timeout())}
                self._check_watchdog()
                self._retry_waiting()
                if self._wakeup in ready:
                    self._wakeup.recv(_READ_BYTES)
                    self._reap_children()
                if self._channel in ready and not self._read_commands():
                    signal.set_wakeup_fd(-1)
                    return

    def _catch_signals(self) -> None:
        self._wakeup, wakeup_in = socket_pair()
        self._wakeup_in = wakeup_in
        wakeup_in.setblocking(False)
        signal.set_wakeup_fd(wakeup_in.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _do_nothing)
        for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(ignored, signal.SIG_IGN)

    def _select_timeout(self) -> float | None:
        times = [] if self._deadline is None else [self._deadline]
        times += [self._refusals.retry_at] if self._waiting else []
        return max(0.0, min(times) - suspend_clock()) if times else None

    def _check_watchdog(self) -> None:
        if self._deadline is not None and suspend_clock() >= self._deadline:
            self._deadline = None
            self._kill_all()

    def _read_commands(self) -> bool:
        """Read and handle commands of the supervisor; returns False when this process has to exit."""
        try:
            data, fds, _flags, _address = socket.recv_fds(self._channel, _READ_BYTES, 64)
        except ConnectionError:
            data, fds = b"", []
        for file in fds:
            os.set_inheritable(file, False)
        self._received_files += fds
        if not data:
            self._on_supervisor_death()
            return False
        return all(self._handle_command(frame) for frame in self._reader.feed(data))

    def _handle_command(self, frame: Frame) -> bool:
        match frame.kind:
            case Kind.FORK:
                number, _ = ipc.unpack_pid(frame)
                self._waiting.append(_WaitingFork(number, [self._received_files.pop(0) for _ in range(3)]))
                if len(self._waiting) == 1:
                    self._start_waiting()
            case Kind.KILL:
                _, pid = ipc.unpack_pid(frame)
                self._kill(pid)
            case Kind.TICK:
                self._deadline = suspend_clock() + ipc.unpack_tick(frame)
            case Kind.STACKS:
                faulthandler.dump_traceback(file=2)
                for child in self._children:
                    select.select((), (), (), _STACK_DUMP_INTERVAL_S)
                    os.kill(child, signal.SIGQUIT)
            case Kind.WORKER:
                self._worker_id = UUID(bytes=frame.body)
            case _:
                self._kill_all()
                return False
        return True

    def _retry_waiting(self) -> None:
        if self._waiting and suspend_clock() >= self._refusals.retry_at:
            self._start_waiting()

    def _start_waiting(self) -> None:
        """Start the requested children until the operating system refuses one, which is retried later."""
        while self._waiting:
            first = self._waiting[0]
            try:
                self._start_child(first.number, first.files)
            except OSError as error:  # EAGAIN: too many processes; ENOMEM
                reason = self._refusals.add(error, has_children=bool(self._children))
                if reason is not None:
                    self._send(Frame(Kind.FAILED, reason.encode()))
                return
            self._waiting.popleft()
            self._refusals.end()

    def _start_child(self, number: int, files: list[int]) -> None:
        process_main = partial(_child_main, os.getpid(), self._app.child_main)
        pid = start_process(self._method, process_main, files, [self._channel, self._wakeup, self._wakeup_in])
        self._children.add(pid)
        for file in files:
            os.close(file)
        self._send(ipc.forked(number, pid))

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
                _kill_group(pid)  # processes that the child has started and left behind
                self._send(ipc.exited(pid, wait_status))

    def _send(self, frame: Frame) -> None:
        with suppress(ConnectionError):  # the end of its stream tells if the supervisor is dead
            self._channel.sendall(frame.encode())

    def _kill(self, pid: int) -> None:
        if pid in self._children:
            _kill_group(pid)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)  # the child may not have called setsid yet

    def _kill_all(self) -> None:
        for pid in list(self._children):
            self._kill(pid)

    def _on_supervisor_death(self) -> None:
        """Kill all children, wait for their ends, and report the worker as dead to the database."""
        self._kill_all()
        for pid in self._children:
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)
        if self._worker_id is None:
            return
        for pause in _REAP_PAUSES_S:
            select.select((), (), (), pause)
            with suppress(psycopg.Error, CallFailedError), self._app.database.connect() as connection:
                call = worker_queries.reap(self._worker_id, MAX_REAPED)
                log_reaped(round_trip(self._app.database, connection, *call.groups)[0][0])
                return


def _die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when its parent dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent_pid:  # it died before prctl was called
            os._exit(START_FAILED)


def _kill_group(leader: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def _do_nothing(_signal: int, _frame: "FrameType | None") -> None:
    """Handle a signal, so that Python writes its number to the wake-up socket."""
