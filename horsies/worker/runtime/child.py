"""The main function of a child: reads jobs from its socket, runs them, and reports how they ended.

With a concurrency of 1 a child is a plain loop: a ``def`` task runs on the main thread, and an ``async def`` task on
the event loop of the child, which lives as long as the child, so that clients bound to it can be kept between tasks.
With a higher concurrency the loop runs all the time: it runs asynchronous tasks concurrently, and ``def`` tasks in a
pool of ``concurrency`` threads.
"""

import asyncio
import inspect
import logging
import os
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import psutil

from horsies.errors import raised_at
from horsies.events import event
from horsies.masking import mask_secrets
from horsies.tasks.hooks import ChildHook, Hooks
from horsies.worker import ipc
from horsies.worker.ipc import Frame, FrameReader, Job, Kind, Report
from horsies.worker.options import WorkerOptions
from horsies.worker.refusals import start_thread
from horsies.worker.runtime.attempts import run_job, run_job_async, with_context
from horsies.worker.runtime.context import AttemptContexts
from horsies.worker.runtime.executor import Executor
from horsies.worker.runtime.exits import leave
from horsies.worker.runtime.inbox import READ_BYTES, Inbox, StartTokens
from horsies.worker.runtime.post_run import drive, exit_forked_copies, exit_if_copy, unhealthy_reason
from horsies.worker.runtime.reports import type_and_text
from horsies.worker.spawn import START_FAILED

PINGS_PER_THRESHOLD = 8
_TURN_S = 0.002
"""For how long a concurrent child starts jobs in one turn of its event loop."""


def run_child(channel: socket.socket, tokens: int, executor: Executor, options: WorkerOptions, hooks: Hooks) -> None:
    """Run the app's start hooks, run jobs until the supervisor closes the socket, then the steps of a planned exit.

    Args:
        channel: the socket to the supervisor.
        tokens: the pipe of start tokens.
        executor: runs single attempts.
        options: the command line.
        hooks: of the app.
    """
    failure = next(filter(None, map(_failure, hooks.child_start)), None)
    if failure is not None:
        report_start_failure(channel, failure)
        return
    runner = asyncio.Runner()
    loop = runner.get_loop()
    exit_forked_copies(loop)
    attempts = Attempts(executor, AttemptContexts(), Health(loop, channel, options.max_memory_per_child_mb))
    with suppress(ConnectionError):  # the supervisor has closed the socket before a report was sent
        if options.concurrency == 1:
            _serve_one_by_one(channel, tokens, attempts)
        else:
            drive(loop, _Concurrent(channel, tokens, attempts, options.concurrency).serve())
    leave(runner.close, hooks.child_stop)


def send_liveness_pings(liveness_pipe: int, every_s: float) -> None:
    """Write a liveness ping at intervals while this interpreter runs, in a thread beside the tasks.

    Args:
        liveness_pipe: where to write.
        every_s: the interval in seconds.
    """
    inode = os.fstat(liveness_pipe).st_ino
    make_thread = partial(
        threading.Thread, target=_write_pings, args=(liveness_pipe, inode, every_s), daemon=True, name="liveness_pipe"
    )
    start_thread(make_thread, every_s * PINGS_PER_THRESHOLD)


def _write_pings(liveness_pipe: int, inode: int, every_s: float) -> None:
    patience = threading.Event()
    with suppress(OSError):  # the supervisor is gone, or a task has closed the pipe
        while os.fstat(liveness_pipe).st_ino == inode:  # else the descriptor belongs to another file now
            with suppress(BlockingIOError):  # the pipe is full: the supervisor has not read for a long time
                os.write(liveness_pipe, b".")
            patience.wait(every_s)


def report_start_failure(channel: socket.socket, reason: str) -> None:
    """Report to the supervisor that this child, and every other child of this app, cannot become ready."""
    event("child.failed", level=logging.ERROR, reason=reason)
    with suppress(ConnectionError):
        channel.sendall(Frame(Kind.FAILED, reason.encode(errors="replace")).encode())


def _failure(hook: ChildHook) -> str | None:
    """Run a hook; returns a description of its failure, if it failed."""
    try:
        returned = hook.fn()
    except BaseException as exception:  # noqa: BLE001 - a hook may raise anything
        place = raised_at(exception)
        where = "" if place is None else f", at {place}"
        return f"the child hook {hook} raised {mask_secrets(type_and_text(exception))}{where}"
    if inspect.iscoroutine(returned):
        returned.close()
        return f"the child hook {hook} returned a coroutine, which nobody awaits: a hook is synchronous"
    return None


class Health:
    """Checks whether this process can run further tasks.

    Args:
        loop: runs the asynchronous tasks; a task may have closed it.
        channel: any open descriptor; used to check whether files can be opened.
        max_mb: the largest resident memory in MB; 0: no limit.

    Attributes:
        is_retired: whether `retire_frame` has returned a frame. No further attempt may start then.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, channel: socket.socket, max_mb: int) -> None:
        self.loop = loop
        self._file = channel.fileno()
        self._max_mb = max_mb
        self._process = psutil.Process() if max_mb else None
        self.is_retired = False

    def retire_frame(self) -> bytes:
        """Return a RETIRE frame, once, if this process must be replaced, else nothing."""
        reason = None if self.is_retired else self._unhealthy_reason()
        if reason is None:
            return b""
        self.is_retired = True
        return Frame(Kind.RETIRE, reason.encode()).encode()

    def _unhealthy_reason(self) -> str | None:
        if self._process is not None:
            resident_mb = self._process.memory_info().rss >> 20
            if resident_mb > self._max_mb:
                return f"it holds {resident_mb} MB"
        return unhealthy_reason(self.loop, self._file)


@dataclass(frozen=True, slots=True)
class Attempts:
    """The parts of a child that run attempts."""

    executor: Executor
    contexts: AttemptContexts
    health: Health


def _serve_one_by_one(channel: socket.socket, tokens: int, attempts: Attempts) -> None:
    inbox, start_tokens = Inbox(channel, attempts.executor.attempts), StartTokens(tokens)
    attempts.executor.report_commits(lambda job: channel.sendall(_commit_frame(job)))
    inbox.read_on(attempts.health.loop)
    channel.sendall(ipc.ready(os.getpid()).encode())
    while (job := inbox.next()) is not None:
        if start_tokens.take():
            report = _run_one(attempts, job)
            retire_frame = attempts.health.retire_frame()
            channel.sendall(retire_frame + Frame(Kind.DONE, report.encode()).encode())
            if retire_frame:
                _wait_for_end(channel)
                return


def _commit_frame(job: Job) -> bytes:
    """Return a COMMIT frame for an attempt with a time-out, whose clock the supervisor stops then, else nothing."""
    return b"" if job.timeout_ms is None else ipc.commit(job.fence).encode()


def _wait_for_end(channel: socket.socket) -> None:
    """Run no further job, and wait until the supervisor closes the socket; it withdraws the remaining jobs."""
    while channel.recv(READ_BYTES):
        continue


def _run_one(attempts: Attempts, job: Job) -> Report:
    report = run_job(attempts.executor, attempts.contexts, attempts.health.loop, job)
    signal.setitimer(
        signal.ITIMER_REAL, 0
    )  # otherwise an alarm that a task has left behind would interrupt the next one
    return report


class _Concurrent:
    """Serves up to ``concurrency`` jobs at a time on one event loop. The other jobs wait, in their order.

    A job takes its start token only when it starts, so that the supervisor can withdraw the jobs that wait.
    """

    def __init__(self, channel: socket.socket, tokens: int, attempts: Attempts, concurrency: int) -> None:
        self._channel = channel
        self._tokens = StartTokens(tokens)
        self._executor = attempts.executor
        self._contexts = attempts.contexts
        self._health = attempts.health
        self._loop = attempts.health.loop
        self._pid = os.getpid()
        self._concurrency = concurrency
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="horsies-task")
        self._waiting: deque[bytes] = deque()
        self._next_turn: asyncio.Handle | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._last_end = 0.0
        self._outbox: list[bytes] = []

    async def serve(self) -> None:
        """Read jobs until the end of the stream."""
        self._reader, self._writer = await asyncio.open_connection(sock=self._channel, limit=READ_BYTES)
        frames = FrameReader()
        self._executor.report_commits(self._report_commit)
        self._writer.write(ipc.ready(os.getpid()).encode())
        while data := await self._reader.read(READ_BYTES):
            for frame in frames.feed(data):
                if frame.kind is Kind.STOP:
                    self._executor.attempts.stop(*ipc.unpack_stop(frame))
                else:
                    self._waiting.append(frame.body)
            self._start_waiting()
        self._writer.close()

    def _report_commit(self, job: Job) -> None:
        """Send a COMMIT frame, also from the thread of a ``def`` task."""
        if frame := _commit_frame(job):
            self._loop.call_soon_threadsafe(self._writer.write, frame)

    def _start_waiting(self) -> None:
        """Start jobs that wait, unless that is already scheduled for the next turn of the event loop."""
        if self._next_turn is None:
            self._start_some()

    def _start_some(self) -> None:
        """Start jobs while there is room, but after `_TURN_S` let the event loop do other things first.

        Jobs that never wait for anything end here. Their reports are sent, and stops are read, in between.
        """
        self._next_turn = None
        if self._reader.at_eof():
            return
        until = time.perf_counter() + _TURN_S
        while self._waiting and len(self._running) < self._concurrency and not self._health.is_retired:
            body = self._waiting.popleft()
            if self._tokens.take():
                self._start(Job.decode(body))
                if time.perf_counter() > until:
                    self._next_turn = self._loop.call_soon(self._start_some)
                    return

    def _start(self, job: Job) -> None:
        """Start a job at once: it runs up to the first thing that it waits for."""
        if not self._running:
            self._last_end = time.perf_counter()
        self._executor.attempts.add(job)
        coroutine, context = self._run(job), self._contexts.new()
        if self._loop.get_task_factory() is None:
            task = asyncio.Task(coroutine, loop=self._loop, context=context, eager_start=True)
        else:  # of the app, which wants to see all tasks
            task = self._loop.create_task(coroutine, context=context)
        exit_if_copy(self._pid)
        if task.done():
            self._exit_if_lost(task)
        else:
            self._running.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not self._reader.at_eof():
            self._exit_if_lost(task)
            self._start_waiting()

    def _exit_if_lost(self, task: asyncio.Task[None]) -> None:
        """End this process if a job has ended without a report, so that the supervisor does not wait for it."""
        if task.cancelled() or task.exception() is not None:
            cause = "it was cancelled" if task.cancelled() else type(task.exception()).__name__
            event("child.failed", level=logging.ERROR, reason=f"the outcome of a task is lost: {cause}")
            os._exit(START_FAILED)

    async def _run(self, job: Job) -> None:
        report = await run_job_async(self._executor, job, self._in_thread)
        now = time.perf_counter()
        report.between_ends, self._last_end = now - self._last_end, now
        if not self._outbox:
            self._loop.call_soon(self._flush)
        self._outbox += [self._health.retire_frame(), Frame(Kind.DONE, report.encode()).encode()]

    async def _in_thread[A, R](self, fn: Callable[[A], R], argument: A) -> R:
        """Call a function in a thread of the pool."""
        return await self._loop.run_in_executor(self._threads, with_context(fn, argument))

    def _flush(self) -> None:
        """Send the reports of all attempts that ended in this turn of the event loop."""
        reports, self._outbox = self._outbox, []
        self._writer.write(b"".join(reports))
