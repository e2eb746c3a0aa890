"""The spans of sends: begun before the database is called, and ended with its answer."""

from typing import TYPE_CHECKING, Protocol, cast
from uuid import UUID

from horsies.db.operations import Operation
from horsies.result import Err, Result
from horsies.tracing.policy import TracePolicy
from horsies.tracing.provider import tracing

if TYPE_CHECKING:
    from horsies.tracing.spans import SendSpan


class WithCode(Protocol):
    """The error of a send."""

    @property
    def code(self) -> str:
        """The kind of failure."""
        ...


def begin_send(  # noqa: PLR0913 - one keyword per attribute
    policy: TracePolicy,
    name: str,
    *,
    task_name: str | None = None,
    workflow_name: str | None = None,
    message_id: UUID | None = None,
    queue: str | None = None,
) -> "SendSpan | None":
    """Begin the span of a send. Return None if the program makes no spans.

    Args:
        policy: The settings of the app.
        name: The name of the task, for the name of the span; empty: it is not known.
        task_name: The name of the task; None: there are several, or it is not known.
        workflow_name: The name of the workflow; None: a task is sent.
        message_id: The id of the task or the run; None: there are several.
        queue: The queue; None: there may be several.
    """
    found = tracing()
    if found is None:
        return None
    known = {
        "messaging.destination.name": queue,
        "messaging.message.id": None if message_id is None else str(message_id),
        "horsies.task.name": task_name,
        "horsies.workflow.name": workflow_name,
    }
    return found.begin_send(name, policy, {key: value for key, value in known.items() if value is not None})


def traced[T, E: WithCode](span: "SendSpan", sending: Operation[Result[T, E]]) -> Operation[Result[T, E]]:
    """Carry out a send, and end its span with the answer."""
    try:
        answer = yield from sending
    except BaseException as exception:
        span.end(type(exception).__name__, {})
        raise
    if isinstance(answer, Err):
        span.end(str(answer.error.code), {})
    else:
        span.end(None, _facts(answer.ok_value))
    return answer


def _facts(sent: object) -> dict[str, str | int]:
    """Return what only the answer tells: how many tasks were sent, or which task stands for a send."""
    if isinstance(sent, list):
        return {"messaging.batch.message_count": len(cast("list[object]", sent))}
    task_id = getattr(sent, "task_id", None)
    return {} if task_id is None else {"messaging.message.id": str(task_id)}
