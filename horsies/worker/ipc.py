"""The protocol of supervisor, fork server and children: length-prefixed frames over stream sockets. No I/O here.

Supervisor and child:

    child       READY   pid                 the child can take jobs
    child       FAILED  text                no child of this app can become ready: a hook raised, for instance
    supervisor  START   job                 run this job, with the next start token
    supervisor  STOP    fence, cause        this attempt must end: cancel it if it is asynchronous
    child       COMMIT  fence               the transaction of this attempt is committed now: its time-out is over
    child       DONE    report              an attempt has ended
    child       RETIRE  text                the child must be replaced: too much memory, or its process is unusable

Start tokens, one byte each, go through a pipe beside the socket (`horsies.worker.child_process`): RUN or DROP the next
job.

A pipe in the other direction carries the child's liveness pings: one byte at intervals, while its interpreter runs.

Supervisor and fork server:

    fork server LOADED  settings, or errors the app is imported and checked
    supervisor  WORKER  worker id           the id to report as dead if the supervisor dies
    supervisor  FORK    number (+ 3 files)  start a child with this socket and these pipes
    fork server FORKED  number, pid         the child was started
    fork server EXITED  pid, wait status    the child has ended
    fork server FAILED  text                no child could be started for too long
    supervisor  KILL    pid                 kill the child and its process group
    supervisor  TICK    seconds             kill all children unless another TICK comes within this time
    supervisor  STACKS                      dump the stacks of the fork server and of all children
    supervisor  BYE                         planned end: exit, and report nothing to the database

The end of the stream means that the other side is dead. Argument and result bytes pass through undecoded.
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
from horsies.db.queries.worker import Fence, Outcome, Storage
from horsies.postponement import PostponeScope
from horsies.task_result import TaskError

_HEAD = struct.Struct(">IB")
_JOB = struct.Struct(">16sQIIHHHII")
_CLAIMANT = struct.Struct(">16s?H")
_FENCE = struct.Struct(">16sQ")
_OUTCOME = struct.Struct(">16sQ?BBdddIHHH")
_NUMBER = struct.Struct(">I")
_PID = struct.Struct(">Q")
_NUMBER_AND_PID = struct.Struct(">IQ")
_PID_AND_STATUS = struct.Struct(">QI")
_STOP = struct.Struct(">16sQB")
_SECONDS = struct.Struct(">d")
_NO_RETRY_AFTER = -1.0
_MAX_ORIGIN_BYTES = 4096
_SCOPES: tuple[PostponeScope | None, ...] = (None, *PostponeScope)  # the index is sent
_STORAGES = {storage.value: storage for storage in Storage}

RUN = b"R"
DROP = b"D"


class Kind(IntEnum):
    """The type of a frame; see the table above."""

    READY = 1
    START = 2
    DONE = 3
    FAILED = 4
    RETIRE = 5
    STOP = 6
    COMMIT = 7
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
    """Why an attempt must end before its code has finished."""

    CANCELLED = 1
    TIMED_OUT = 2


_KINDS: dict[int, Kind] = {kind.value: kind for kind in Kind}


class Frame(NamedTuple):
    """One message: its type, and its payload in the encoding of that type."""

    kind: Kind
    body: bytes = b""

    def encode(self) -> bytes:
        """Return the frame as bytes: length, type, payload."""
        return _HEAD.pack(len(self.body), self.kind) + self.body


class FrameReader:
    """Splits a stream of bytes into frames. Only the beginning of an incomplete frame is copied into the buffer."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Take bytes from the stream; returns the frames that are complete now."""
        if not self._buffer:
            frames, end = _split(data)
            self._buffer += data[end:]
        else:
            self._buffer += data
            frames, end = _split(self._buffer)
            del self._buffer[:end]
        return frames


def _split(stream: bytes | bytearray) -> tuple[list[Frame], int]:
    """Return the complete frames at the beginning of a stream, and where they end."""
    frames: list[Frame] = []
    start = 0
    while len(stream) - start >= _HEAD.size:
        size, kind = _HEAD.unpack_from(stream, start)
        begin = start + _HEAD.size
        end = begin + size
        if len(stream) < end:
            break
        frames.append(Frame(_KINDS[kind], bytes(stream[begin:end])))
        start = end
    return frames, start


class Claimant(NamedTuple):
    """The data that a transactional task needs to end itself, besides its fence.

    Attributes:
        worker_id: the worker that holds the claim.
        on_node: whether the task belongs to a workflow.
        hostname: the host of the worker.
        process_name: the name of the child that runs the task; empty until a child gets the job.
    """

    worker_id: UUID
    on_node: bool
    hostname: str
    process_name: str = ""

    def encode(self) -> bytes:
        """Return it as bytes."""
        hostname = self.hostname.encode()
        return _CLAIMANT.pack(self.worker_id.bytes, self.on_node, len(hostname)) + hostname + self.process_name.encode()

    @classmethod
    def decode(cls, body: bytes) -> "Claimant":
        """Read what `encode` has returned."""
        worker_id, on_node, size = _CLAIMANT.unpack_from(body)
        end = _CLAIMANT.size + size
        return cls(UUID(bytes=worker_id), on_node, body[_CLAIMANT.size : end].decode(), body[end:].decode())


class Job(NamedTuple):
    """One attempt to run.

    Attributes:
        fence: identifies the claim.
        attempt: its number, from 1.
        task_name: the task to run.
        queue: the queue from which it was claimed.
        args: the encoded arguments.
        timeout_ms: the time-out of the attempt; None: it has none.
        queue_limited: whether its queue has a cap, so that it must not wait in a child. Not sent to the child.
        on_node: whether it belongs to a workflow, so that its end may make other tasks ready. Not sent to the child.
        inputs: JSON from the workflow run that it belongs to.
        given_at: when the worker received it, in seconds of the monotonic clock.
        claimant: the holder of the claim, if the task is transactional.
        due_at: when the task fell due, in seconds of the monotonic clock of the worker. Not sent to the child.
        trace_context: JSON with the spans to which the span of the attempt is linked.
        traceparent: of the span of the attempt; empty: it has none. The child sets it.
    """

    fence: Fence
    attempt: int
    task_name: str
    queue: str
    args: bytes
    timeout_ms: int | None = None
    queue_limited: bool = False
    on_node: bool = False
    inputs: bytes = b""
    given_at: float = 0.0
    claimant: Claimant | None = None
    due_at: float = 0.0
    trace_context: bytes = b""
    traceparent: str = ""

    @classmethod
    def of_claim(cls, fence: Fence, task: ClaimedTask, attempt: int) -> "Job":
        """Return the job for a task that was claimed just now, or that was prefetched and starts now."""
        return cls(
            fence=fence,
            attempt=attempt,
            task_name=task.task_name,
            queue=task.queue,
            args=task.args,
            timeout_ms=task.timeout_ms,
            queue_limited=task.queue_limited,
            on_node=task.root_id is not None,
            inputs=task.inputs or b"",
            given_at=time.monotonic(),
            due_at=task.due_at,
            trace_context=task.trace_context or b"",
        )

    def claimed_by(self, worker_id: UUID, hostname: str) -> "Job":
        """Return the job of a transactional task, with the holder of the claim: the task is ended where it runs."""
        return self._replace(claimant=Claimant(worker_id, self.on_node, hostname))

    def encode(self) -> bytes:
        """Return the payload of a START frame."""
        name, queue = self.task_name.encode(), self.queue.encode()
        fence, timeout_ms = self.fence, self.timeout_ms or 0
        claimant = b"" if self.claimant is None else self.claimant.encode()
        sizes = (len(name), len(queue), len(claimant), len(self.inputs), len(self.trace_context))
        head = _JOB.pack(fence.task_id.bytes, fence.exchange_no, self.attempt, timeout_ms, *sizes)
        return b"".join((head, name, queue, claimant, self.inputs, self.trace_context, self.args))

    @classmethod
    def decode(cls, body: bytes) -> "Job":
        """Read the payload of a START frame."""
        task_id, exchange_no, attempt, timeout_ms, *sizes = _JOB.unpack_from(body)
        name_size, queue_size, claimant_size, inputs_size, trace_size = sizes
        queue_at = _JOB.size + name_size
        claimant_at = queue_at + queue_size
        inputs_at = claimant_at + claimant_size
        trace_at = inputs_at + inputs_size
        args_at = trace_at + trace_size
        return cls(
            fence=Fence(UUID(bytes=task_id), exchange_no),
            attempt=attempt,
            task_name=body[_JOB.size : queue_at].decode(),
            queue=body[queue_at:claimant_at].decode(),
            args=body[args_at:],
            timeout_ms=timeout_ms or None,
            inputs=body[inputs_at:trace_at],
            trace_context=body[trace_at:args_at],
            claimant=Claimant.decode(body[claimant_at:inputs_at]) if claimant_size else None,
        )


class Origin(NamedTuple):
    """Where an attempt failed, for the log. It never holds a message or an argument, which may be secret.

    Attributes:
        exception: the name of the type of the exception that the attempt raised; empty if it raised none.
        place: ``file:line`` in the user's source; empty if it is not known.
    """

    exception: str = ""
    place: str = ""

    def encode(self) -> tuple[bytes, bytes]:
        """Return both as bytes of bounded length, because a program can give a class a name of any length."""
        exception, place = (part.encode(errors="backslashreplace")[:_MAX_ORIGIN_BYTES] for part in self)
        return exception, place


NOWHERE = Origin()


@dataclass(slots=True)
class Report:
    """How an attempt ended, as reported by a child.

    Attributes:
        fence: identifies the claim.
        ok: whether it succeeded.
        result: encoded: the value, or the `TaskError`.
        error_code: the code of the error; None if it succeeded.
        retry_after: the delay before a retry or of a postponement, in seconds, if the task has set one.
        seconds: how long it ran.
        exception: the exception that user code raised, for hooks; it is not sent to the supervisor.
        error: the `TaskError`, for hooks; it is not sent to the supervisor.
        origin: where it failed, for the log.
        storage: which process stores the outcome.
        postponed: for what the task asks to run again later, so that the attempt is not counted; None: it does not.
        traceparent: of the span of the attempt; empty: it has none.
        between_ends: the time since the attempt before has ended in the same child, or since the child was idle, in
            seconds; 0: that is the time that this attempt ran.
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
    storage: Storage = Storage.WORKER
    postponed: PostponeScope | None = None
    traceparent: str = ""
    between_ends: float = 0.0

    def to_outcome(self, pid: int | None, process_name: str | None) -> Outcome:
        """Return the outcome for the database, with the process that has run the attempt."""
        return Outcome(
            fence=self.fence,
            ok=self.ok,
            result=self.result,
            error_code=self.error_code,
            retry_after=self.retry_after,
            worker_pid=pid,
            process_name=process_name,
            seconds=self.seconds,
            exception=self.origin.exception,
            place=self.origin.place,
            storage=self.storage,
            postponed=self.postponed,
            traceparent=self.traceparent,
            between_ends=self.between_ends or self.seconds,
        )

    def encode(self) -> bytes:
        """Return the payload of a DONE frame."""
        code = (self.error_code or "").encode()
        after = _NO_RETRY_AFTER if self.retry_after is None else self.retry_after
        raised, place = self.origin.encode()
        span = self.traceparent.encode()
        sizes = (len(code), len(raised), len(place), len(span))
        result = self.result if self.storage is Storage.WORKER else b""
        fence = (self.fence.task_id.bytes, self.fence.exchange_no)
        scope = _SCOPES.index(self.postponed)
        times = (after, self.seconds, self.between_ends or self.seconds)
        head = _OUTCOME.pack(*fence, self.ok, self.storage, scope, *times, *sizes)
        return b"".join((head, code, raised, place, span, result))


def decode_report(body: bytes, pid: int | None, process_name: str | None) -> Outcome:
    """Read the payload of a DONE frame; returns the outcome for the database, with the process that ran the attempt."""
    task_id, exchange_no, ok, storage, scope, after, seconds, between_ends, *sizes = _OUTCOME.unpack_from(body)
    code_size, raised_size, place_size, span_size = sizes
    raised_at = _OUTCOME.size + code_size
    place_at = raised_at + raised_size
    span_at = place_at + place_size
    result_at = span_at + span_size
    return Outcome(
        Fence(UUID(bytes=task_id), exchange_no),
        ok,
        body[result_at:],
        error_code=body[_OUTCOME.size : raised_at].decode() or None,
        retry_after=None if after == _NO_RETRY_AFTER else after,
        worker_pid=pid,
        process_name=process_name,
        seconds=seconds,
        exception=body[raised_at:place_at].decode(errors="replace"),
        place=body[place_at:span_at].decode(errors="replace"),
        storage=_STORAGES[storage],
        postponed=_SCOPES[scope],
        traceparent=body[span_at:result_at].decode(),
        between_ends=between_ends,
    )


def commit(fence: Fence) -> Frame:
    """Return a COMMIT frame for an attempt."""
    return Frame(Kind.COMMIT, _FENCE.pack(fence.task_id.bytes, fence.exchange_no))


def unpack_commit(frame: Frame) -> Fence:
    """Read the attempt of a COMMIT frame."""
    task_id, exchange_no = _FENCE.unpack(frame.body)
    return Fence(UUID(bytes=task_id), exchange_no)


def stop(fence: Fence, cause: StopCause) -> Frame:
    """Return a STOP frame for an attempt."""
    return Frame(Kind.STOP, _STOP.pack(fence.task_id.bytes, fence.exchange_no, cause))


def unpack_stop(frame: Frame) -> tuple[Fence, StopCause]:
    """Read a STOP frame: the attempt, and why it must end."""
    task_id, exchange_no, cause = _STOP.unpack(frame.body)
    return Fence(UUID(bytes=task_id), exchange_no), StopCause(cause)


def fork(number: int) -> Frame:
    """Return a FORK frame; the socket and the pipes of the child are sent with it."""
    return Frame(Kind.FORK, _NUMBER.pack(number))


def unpack_fork(frame: Frame) -> int:
    """Read the number of a FORK frame."""
    return _NUMBER.unpack(frame.body)[0]


def forked(number: int, pid: int) -> Frame:
    """Return a FORKED frame."""
    return Frame(Kind.FORKED, _NUMBER_AND_PID.pack(number, pid))


def unpack_forked(frame: Frame) -> tuple[int, int]:
    """Read a FORKED frame: the number of the child, and its process id."""
    return _NUMBER_AND_PID.unpack(frame.body)


def ready(pid: int) -> Frame:
    """Return a READY frame. It may arrive before the FORKED frame of the fork server, so it has the process id too."""
    return Frame(Kind.READY, _PID.pack(pid))


def unpack_ready(frame: Frame) -> int:
    """Read the process id of a READY frame."""
    return _PID.unpack(frame.body)[0]


def exited(pid: int, wait_status: int) -> Frame:
    """Return an EXITED frame."""
    return Frame(Kind.EXITED, _PID_AND_STATUS.pack(pid, wait_status))


def unpack_exited(frame: Frame) -> tuple[int, int]:
    """Read an EXITED frame: the process id of the child, and its wait status."""
    return _PID_AND_STATUS.unpack(frame.body)


def kill(pid: int) -> Frame:
    """Return a KILL frame."""
    return Frame(Kind.KILL, _PID.pack(pid))


def unpack_kill(frame: Frame) -> int:
    """Read the process id of a KILL frame."""
    return _PID.unpack(frame.body)[0]


def tick(seconds: float) -> Frame:
    """Return a TICK frame, which sets the watchdog's deadline to ``seconds`` from now."""
    return Frame(Kind.TICK, _SECONDS.pack(seconds))


def unpack_tick(frame: Frame) -> float:
    """Read the seconds of a TICK frame."""
    return _SECONDS.unpack(frame.body)[0]


def describe_end(wait_status: int) -> str:
    """Describe in words how a process ended, from its wait status."""
    code = os.waitstatus_to_exitcode(wait_status)
    if code >= 0:
        return f"exited with code {code}"
    try:
        name = f" ({signal.Signals(-code).name})"
    except ValueError:
        name = ""
    return f"was killed by signal {-code}{name}"
