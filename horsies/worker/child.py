"""The child: takes jobs off its socket, runs them, reports.

With a concurrency of 1 it is a plain loop: a ``def`` task runs on the main thread, an ``async def`` task on the
child's event loop, which lives as long as the child, so that clients bound to it can be kept between tasks. With more,
the loop runs all the time: asynchronous tasks side by side, the others in a pool of so many threads.
"""

import asyncio
import os
import select
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

from horsies.worker.execute import Executor, ReadyCall
from horsies.worker.protocol import RUN, Frame, FrameReader, Job, Kind, Report

_READ_BYTES = 1 << 16


def run_child(channel: socket.socket, permits: int, executor: Executor, concurrency: int) -> None:
    """Serve jobs until the supervisor closes the socket."""
    with suppress(ConnectionError):  # it did so while we were about to say something
        if concurrency == 1:
            _serve_one_by_one(channel, permits, executor)
        else:
            with asyncio.Runner() as runner:
                runner.run(_Concurrent(channel, executor, concurrency).serve())


def _serve_one_by_one(channel: socket.socket, permits: int, executor: Executor) -> None:
    reader = FrameReader()
    patience = select.poll()
    patience.register(permits, select.POLLIN)
    with asyncio.Runner() as runner:
        runner.get_loop()
        channel.sendall(Frame(Kind.READY).encode())
        while data := channel.recv(_READ_BYTES):
            for frame in reader.feed(data):
                if _permit(permits, patience) == RUN:
                    report = _run_one(runner, executor, Job.decode(frame.body))
                    channel.sendall(Frame(Kind.DONE, report.encode()).encode())


def _permit(permits: int, patience: select.poll) -> bytes:
    """Wait for the permit of the next job. The pipe does not block, for the supervisor reads it, too."""
    while True:
        try:
            return os.read(permits, 1)
        except BlockingIOError:
            patience.poll()


def _run_one(runner: asyncio.Runner, executor: Executor, job: Job) -> Report:
    start = time.perf_counter()
    report = _outcome_of(runner, executor, executor.prepare(job))
    return replace(report, seconds=time.perf_counter() - start)


def _outcome_of(runner: asyncio.Runner, executor: Executor, call: ReadyCall | Report) -> Report:
    if isinstance(call, Report):
        return call
    if call.definition.is_async:
        return runner.get_loop().run_until_complete(executor.run_async(call))
    return executor.run(call)


class _Concurrent:
    """Serves up to ``concurrency`` jobs at a time on one event loop."""

    def __init__(self, channel: socket.socket, executor: Executor, concurrency: int) -> None:
        self._channel = channel
        self._executor = executor
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="horsies-task")
        self._running: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Read jobs until the end of the stream."""
        reader, self._writer = await asyncio.open_connection(sock=self._channel, limit=_READ_BYTES)
        frames = FrameReader()
        self._writer.write(Frame(Kind.READY).encode())
        while data := await reader.read(_READ_BYTES):
            for frame in frames.feed(data):
                task = asyncio.create_task(self._run(Job.decode(frame.body)))
                self._running.add(task)
                task.add_done_callback(self._running.discard)

    async def _run(self, job: Job) -> None:
        call = self._executor.prepare(job)
        if isinstance(call, Report):
            report = call
        elif call.definition.is_async:
            report = await self._executor.run_async(call)
        else:
            report = await asyncio.get_running_loop().run_in_executor(self._threads, self._executor.run, call)
        self._writer.write(Frame(Kind.DONE, report.encode()).encode())
        await self._writer.drain()
