"""The inputs of a child: jobs and stops from its socket, start tokens from a pipe."""

import asyncio
import os
import select
import socket
from collections import deque
from contextlib import suppress

from horsies.worker import ipc
from horsies.worker.ipc import RUN, Frame, FrameReader, Job, Kind
from horsies.worker.runtime.stopping import RunningAttempts

READ_BYTES = 1 << 16


class StartTokens:
    """The child's end of the pipe of start tokens."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self._readable = select.poll()
        self._readable.register(pipe, select.POLLIN)

    def take(self) -> bool:
        """Read the start token of the next job; returns False if the supervisor has withdrawn that job.

        The pipe is non-blocking, because the supervisor reads it as well. It may be empty for a moment: between reading
        the tokens of withdrawn jobs and writing the DROP tokens.
        """
        while True:
            try:
                return os.read(self._pipe, 1) == RUN
            except BlockingIOError:
                self._readable.poll()


class Inbox:
    """The socket of a child that runs one job at a time.

    Between two jobs the child blocks on the socket. While an ``async def`` task runs, the event loop reads the socket,
    so that a STOP reaches that task; jobs that arrive meanwhile wait in this inbox.
    """

    def __init__(self, channel: socket.socket, attempts: RunningAttempts) -> None:
        self._channel = channel
        self._attempts = attempts
        self._reader = FrameReader()
        self._waiting: deque[Job] = deque()

    def read_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let an event loop read the socket whenever it runs."""
        loop.add_reader(self._channel, self._on_readable, loop)

    def next(self) -> Job | None:
        """Wait for the next job; returns None at the end of the stream."""
        while not self._waiting:
            if not self._read():
                return None
        return self._waiting.popleft()

    def _on_readable(self, loop: asyncio.AbstractEventLoop) -> None:
        with suppress(ConnectionError):
            if self._read():
                return
        loop.remove_reader(self._channel)  # otherwise the loop would report the socket as readable for ever

    def _read(self) -> bool:
        """Read once; returns False at the end of the stream."""
        data = self._channel.recv(READ_BYTES)
        for frame in self._reader.feed(data):
            self._take(frame)
        return bool(data)

    def _take(self, frame: Frame) -> None:
        if frame.kind is Kind.STOP:
            self._attempts.stop(*ipc.unpack_stop(frame))
        else:
            self._waiting.append(Job.decode(frame.body))
