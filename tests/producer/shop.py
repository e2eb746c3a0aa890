"""An app with a few tasks, calls of either style, and a worker driven by hand."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Literal, cast
from uuid import UUID

import uvloop

from horsies import AppConfig, Horsies, PostgresConfig, RetryPolicy, TaskError, TaskHandle, TaskResult, TaskSendResult
from horsies.config.app import WorkerResilienceConfig
from horsies.db.queries import worker as worker_queries
from horsies.db.queries.worker import Fence, Outcome
from tests.support.factories import DrivenWorker, done
from tests.support.sessions import Session, call

if TYPE_CHECKING:
    from types import MethodType

type Style = Literal["sync", "async"]

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
PASSWORD = "correct-horse"
RARELY = WorkerResilienceConfig(notify_poll_interval_ms=300_000)
OFTEN = WorkerResilienceConfig(notify_poll_interval_ms=1_000)


class ShopError(TaskError):
    shop: str = "main"


def add(a: int, b: int = 2) -> TaskResult[int, TaskError]:
    return TaskResult(ok=a + b)


async def greet(name: str) -> TaskResult[str, TaskError]:
    return TaskResult(ok=f"Hello, {name}!")


def order(article: str, *, count: int = 1) -> TaskResult[dict[str, int], ShopError]:
    return TaskResult(ok={article: count})


def plain(value: Any) -> TaskResult[Any, TaskError]:
    return TaskResult(ok=value)


class Shop:
    """An app and its tasks."""

    def __init__(self, broker: PostgresConfig, **config: Any) -> None:
        self.app = Horsies(AppConfig(broker=broker, **config))
        self.add = self.app.task("add")(add)
        self.greet = self.app.task("greet")(greet)
        self.order = self.app.task("order", timeout_ms=5_000)(order)
        self.plain = self.app.task("plain")(plain)
        policy = RetryPolicy.fixed([5, 7], auto_retry_for=["BOOM"], jitter=False)
        self.waiters = self.app._drivers._waiters
        self.retried = self.app.task("retried", retry_policy=policy)(add)


class Do:
    """Calls a method of the public surface, or its ``_async`` twin on one event loop: ``do(task.send, 1, 2)``."""

    def __init__(self, style: Style) -> None:
        self.style: Style = style
        self._runner = asyncio.Runner() if style == "async" else None

    def __call__[**P, R](self, method: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        if self._runner is None:
            return method(*args, **kwargs)
        bound = cast("MethodType", method)
        twin: Callable[P, Any] = getattr(bound.__self__, f"{bound.__name__}_async")
        return self._runner.run(twin(*args, **kwargs))

    def run[R](self, coroutine: Coroutine[Any, Any, R]) -> R:
        """Run a coroutine on the event loop of this style."""
        assert self._runner is not None
        return self._runner.run(coroutine)

    def close(self) -> None:
        if self._runner is not None:
            self._runner.close()


def run_in[R](loop: str, coroutine: Coroutine[Any, Any, R]) -> R:
    """Run a coroutine on a new event loop of ``LOOPS``, and close the loop."""
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.get_loop().slow_callback_duration = 60.0  # in debug mode, a slow machine is not worth a message
        return runner.run(coroutine)


def task_id(sent: TaskSendResult[TaskHandle[Any]]) -> UUID:
    return UUID(sent.unwrap().task_id)


class Hand:
    """A worker that the test drives step by step."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.worker = DrivenWorker(session, names=("add", "greet", "order", "plain", "retried"))
        self._claimed: dict[UUID, Fence] = {}

    def claim(self, wanted: UUID) -> Fence:
        """Claim all due tasks; return the fence of the given task."""
        self._claimed |= {fence.task_id: fence for fence in self.worker.claim(10_000)}
        return self._claimed.pop(wanted)

    def end(self, wanted: UUID, how: Callable[[Fence], Outcome] = done, *, notice: bool = True) -> None:
        """Claim and finish a task; ``notice=False`` simulates a lost notice."""
        assert self.worker.finish(how(self.claim(wanted))) == ["accepted"]
        if notice:
            call(self._session, worker_queries.notify_done([wanted], with_results=False))
