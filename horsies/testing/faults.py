"""Faults that a test asks for: lost attempts, and lost connections of the producer."""

from collections import deque
from collections.abc import Coroutine, Generator
from dataclasses import dataclass
from typing import Any, Literal, override

from horsies.config.app import AppConfig
from horsies.db.operations import Call, CallFailedError, Operation, Rollback, Within
from horsies.producer.drivers import Drivers

type CrashPoint = Literal["claimed", "begun", "ran", "committed"]
type DisconnectPoint = Literal["before", "after"]

CRASH_POINTS: tuple[CrashPoint, ...] = ("claimed", "begun", "ran", "committed")
DISCONNECT_POINTS: tuple[DisconnectPoint, ...] = ("before", "after")


class LostWorker(BaseException):
    """Raised in a task whose worker is to die now. Code that catches `Exception` must not continue."""


@dataclass(slots=True)
class PlannedCrash:
    """A plan to lose attempts.

    Attributes:
        at: the point.
        task_name: the task; None: any task.
        times: how many attempts it will still lose.
    """

    at: CrashPoint
    task_name: str | None
    times: int


class Crashes:
    """The planned crashes of a queue."""

    def __init__(self) -> None:
        self._planned: list[PlannedCrash] = []

    def add(self, crash: PlannedCrash) -> None:
        """Plan a crash."""
        self._planned.append(crash)

    def expects(self, at: CrashPoint) -> bool:
        """Return whether a crash is planned at this point."""
        return any(each.at == at for each in self._planned)

    def take(self, at: CrashPoint, task_name: str) -> bool:
        """Return whether a planned crash loses an attempt at this task here, and count it."""
        for each in self._planned:
            if each.at == at and each.task_name in {None, task_name}:
                each.times -= 1
                if not each.times:
                    self._planned.remove(each)
                return True
        return False


class QueueDrivers(Drivers):
    """The drivers of an app during a test; they can lose the connection in the next call.

    Attributes:
        disconnects: the points at which the next calls fail.
    """

    def __init__(self, config: AppConfig) -> None:
        super().__init__(config)
        self.disconnects: deque[DisconnectPoint] = deque()

    @override
    def run[R](self, operation: Operation[R]) -> R:
        """Run an operation, blocking the calling thread."""
        return super().run(_disturbed(operation, self.disconnects) if self.disconnects else operation)

    @override
    def run_async[R](self, operation: Operation[R]) -> Coroutine[Any, Any, R]:
        """Return a coroutine that runs an operation on the running event loop."""
        return super().run_async(_disturbed(operation, self.disconnects) if self.disconnects else operation)


def _disturbed[R](operation: Operation[R], disconnects: deque[DisconnectPoint]) -> Operation[R]:
    """Run an operation, and lose the connection before or after its next calls are committed."""
    try:
        step = next(operation)
        while True:
            is_commit = isinstance(step, Call) or (isinstance(step, Within) and step.commit_with is not None)
            point = disconnects.popleft() if is_commit and disconnects else None
            try:
                answer = yield from _answer(step, point)
            except GeneratorExit:
                operation.close()
                raise
            except BaseException as failure:  # noqa: BLE001 - the operation raises it again
                step = operation.throw(failure)
            else:
                step = operation.send(answer)
    except StopIteration as finished:
        return finished.value


def _answer(step: Any, point: DisconnectPoint | None) -> Generator[Any, Any, Any]:
    answer = None
    if point == "before" and isinstance(step, Within):
        yield Rollback(step.transaction)
    if point != "before":
        answer = yield step
    if point is not None:
        message = f"the connection was lost {point} the commit, as TestQueue.disconnect has asked for"
        raise CallFailedError(message, retryable=True)
    return answer
