"""How supervisor, fork server and children talk: length-prefixed frames over stream sockets. No I/O here.

Supervisor and child:

    child       READY   pid                 it can take work
    child       FAILED  text                it never will: a hook raised
    supervisor  START  job                  run this, with the next permit
    supervisor  STOP   fence, cause         this attempt must end: cancel it if it is asynchronous
    child       DONE   outcome              it ran
    child       RETIRE text                 it has too much memory: what it runs is its last

Start tokens, a byte each, go through a pipe beside the socket (`horsies.worker.child_process`): RUN or DROP the next
job.

A pipe the other way carries the child's liveness pings: a byte now and then, for as long as its interpreter runs.

Supervisor and fork server:

    fork server LOADED  settings, or errors the app is imported and checked
    supervisor  WORKER  worker id           for the last will
    supervisor  FORK    number (+ 3 files)  make a child with this socket and these pipes
    fork server FORKED  number, pid
    fork server EXITED  pid, wait status
    fork server FAILED  text                no child could be started for too long
    supervisor  KILL    pid
    supervisor  TICK    seconds             the watchdog may sleep so long
    supervisor  STACKS                      say where you and your children are
    supervisor  BYE                         all is in order: leave without a last will

An end of the stream means that the other side is dead. Argument and result bytes pass through undecoded.
"""

import os
import signal
import struct
import time
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple
from uuid import UUID

from horsies.db.queries.rows import ClaimedTask
from horsies.db.queries.worker import Fence
from horsies.task_result import TaskError

_HEAD = struct.Struct(">IB")
_JOB = struct.Struct(">16sQIIHHI")
_OUTCOME = struct.Struct(">16sQ?ddIHH")
_PID = struct.Struct(">IQ")
_STOP = struct.Struct(">16sQB")
_SECONDS = struct.Struct(">d")
_NO_RETRY_AFTER = -1.0
_MOST_ORIGIN_BYTES = 4096

RUN = b"R"
DROP = b"D"


class Kind(IntEnum):
    """What a frame is."""

    READY = 1
    START = 2
    DONE = 3
    FAILED = 4
    RETIRE = 5
    STOP = 6
    LOADED = 10
    WORKER = 11
    FORK = 12
    FORKED = 13
    EXITED = 14
    KILL = 15
    TICK = 16
    BYE = 17
    STACKS = 18


class StopCause(IntEnum):
    """Why an attempt must end before its code does."""

    CANCELLED = 1
    TIMED_OUT = 2


class Frame(NamedTuple):
    """One message."""

    kind: Kind
    body: bytes = b""

    def encode(self) -> bytes:
        """The bytes on the wire."""
        return _HEAD.pack(len(self.body), self.kind) + self.body


class FrameReader:
    """Cuts a stream into frames."""

    def __init__(self) -> None:
        """Begin with an empty stream."""
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Take what came off the stream; answers the frames that are complete with it."""
        self._buffer += data
        frames: list[Frame] = []
        start = 0
        while len(self._buffer) - start >= _HEAD.size:
            size, kind = _HEAD.unpack_from(self._buffer, start)
            end = start + _HEAD.size + size
            if len(self._buffer) < end:
                break
            body = bytes(self._buffer[start + _HEAD.size : end])
            start = end
            frames.append(Frame(Kind(kind), body))
        del self._buffer[:start]
        return frames


class Job(NamedTuple):
    """One attempt to run.

    ``capped``: its queue has a cap, so it must not wait in a child. ``on_node``: its end may make other tasks ready.
    The child need not know of either. ``inputs`` is JSON from the run whose node it is on. ``given_at`` is when the
    worker got it, in seconds of the monotonic clock.
    """

    fence: Fence
    attempt: int
    task_name: str
    queue: str
    args: bytes
    timeout_ms: int | None = None
    capped: bool = False
    on_node: bool = False
    inputs: bytes = b""
    given_at: float = 0.0

    @classmethod
    def of_claim(cls, fence: Fence, task: ClaimedTask, attempt: int) -> "Job":
        """An attempt at a task that was claimed just now."""
        on_node, inputs = task.root_id is not None, task.inputs or b""
        facts = (task.task_name, task.queue, task.args, task.timeout_ms, task.capped)
        return cls(fence, attempt, *facts, on_node, inputs, time.monotonic())

    def encode(self) -> bytes:
        """As the body of START."""
        name, queue = self.task_name.encode(), self.queue.encode()
        fence, timeout_ms = self.fence, self.timeout_ms or 0
        sizes = (len(name), len(queue), len(self.inputs))
        head = _JOB.pack(fence.task_id.bytes, fence.exchange_no, self.attempt, timeout_ms, *sizes)
        return b"".join((head, name, queue, self.inputs, self.args))

    @classmethod
    def decode(cls, body: bytes) -> "Job":
        """From the body of START."""
        task_id, exchange_no, attempt, timeout_ms, name_size, queue_size, inputs_size = _JOB.unpack_from(body)
        queue_at = _JOB.size + name_size
        inputs_at = queue_at + queue_size
        args_at = inputs_at + inputs_size
        fence, name, queue = (
            Fence(UUID(bytes=task_id), exchange_no),
            body[_JOB.size : queue_at],
            body[queue_at:inputs_at],
        )
        texts = (name.decode(), queue.decode())
        return cls(fence, attempt, *texts, body[args_at:], timeout_ms or None, inputs=body[inputs_at:args_at])


class Origin(NamedTuple):
    """Where an attempt failed, for the log. It never holds a message or an argument, which may be secret.

    Attributes:
        exception: the name of the type of the exception that the attempt raised; empty if it raised none.
        place: ``file:line`` in the user's source; empty if it is not known.
    """

    exception: str = ""
    place: str = ""

    def encode(self) -> tuple[bytes, bytes]:
        """Both as bytes, bounded, because a program can give a class a name of any length."""
        exception, place = (part.encode(errors="backslashreplace")[:_MOST_ORIGIN_BYTES] for part in self)
        return exception, place


NOWHERE = Origin()


@dataclass(slots=True)
class Report:
    """How an attempt ended, as a child tells it, and how many ``seconds`` it ran.

    ``result`` is encoded: the value, or the TaskError. ``exception`` is what user code raised, and ``error`` is the
    TaskError itself; both stay in the child, for its hooks.
    """

    fence: Fence
    ok: bool
    result: bytes
    error_code: str | None = None
    retry_after: float | None = None
    seconds: float = 0.0
    exception: BaseException | None = None
    error: TaskError | None = None
    origin: Origin = NOWHERE

    def encode(self) -> bytes:
        """As the body of DONE."""
        code = (self.error_code or "").encode()
        after = _NO_RETRY_AFTER if self.retry_after is None else self.retry_after
        raised, place = self.origin.encode()
        sizes = (len(code), len(raised), len(place))
        head = _OUTCOME.pack(self.fence.task_id.bytes, self.fence.exchange_no, self.ok, after, self.seconds, *sizes)
        return b"".join((head, code, raised, place, self.result))

    @classmethod
    def decode(cls, body: bytes) -> "Report":
        """From the body of DONE."""
        task_id, exchange_no, ok, after, seconds, code_size, raised_size, place_size = _OUTCOME.unpack_from(body)
        raised_at = _OUTCOME.size + code_size
        place_at = raised_at + raised_size
        result_at = place_at + place_size
        code = body[_OUTCOME.size : raised_at].decode() or None
        raised, place = body[raised_at:place_at], body[place_at:result_at]
        origin = NOWHERE
        if raised or place:
            origin = Origin(raised.decode(errors="replace"), place.decode(errors="replace"))
        return cls(
            Fence(UUID(bytes=task_id), exchange_no),
            ok,
            body[result_at:],
            code,
            None if after == _NO_RETRY_AFTER else after,
            seconds,
            origin=origin,
        )


def stop(fence: Fence, cause: StopCause) -> Frame:
    """An attempt must end."""
    return Frame(Kind.STOP, _STOP.pack(fence.task_id.bytes, fence.exchange_no, cause))


def unpack_stop(frame: Frame) -> tuple[Fence, StopCause]:
    """Which attempt a STOP names, and why it must end."""
    task_id, exchange_no, cause = _STOP.unpack(frame.body)
    return Fence(UUID(bytes=task_id), exchange_no), StopCause(cause)


def fork(number: int) -> Frame:
    """Make a child; its socket travels beside the frame."""
    return Frame(Kind.FORK, _PID.pack(number, 0))


def forked(number: int, pid: int) -> Frame:
    """A child was made."""
    return Frame(Kind.FORKED, _PID.pack(number, pid))


def ready(pid: int) -> Frame:
    """A child can take work. Its process id may arrive here before the fork server's FORKED does."""
    return Frame(Kind.READY, _PID.pack(0, pid))


def exited(pid: int, wait_status: int) -> Frame:
    """A child has ended."""
    return Frame(Kind.EXITED, _PID.pack(wait_status, pid))


def kill(pid: int) -> Frame:
    """End a child and everything in its process group."""
    return Frame(Kind.KILL, _PID.pack(0, pid))


def unpack_pid(frame: Frame) -> tuple[int, int]:
    """``(number or wait status, pid)`` of FORK, FORKED, READY, EXITED and KILL."""
    return _PID.unpack(frame.body)


def tick(seconds: float) -> Frame:
    """Extend the watchdog's deadline to so many seconds from now."""
    return Frame(Kind.TICK, _SECONDS.pack(seconds))


def unpack_tick(frame: Frame) -> float:
    """The seconds of a TICK."""
    return _SECONDS.unpack(frame.body)[0]


def describe_end(wait_status: int) -> str:
    """In words, what a wait status says: how a process ended."""
    code = os.waitstatus_to_exitcode(wait_status)
    if code >= 0:
        return f"exited with code {code}"
    try:
        name = f" ({signal.Signals(-code).name})"
    except ValueError:
        name = ""
    return f"was killed by signal {-code}{name}"
