"""Calls about workflow runs, by producers and by the built-in tasks of workflows."""

from dataclasses import dataclass
from uuid import UUID

from horsies.db.adapt import RawJson
from horsies.db.operations import UNSET, Call, first, many, scalar
from horsies.db.queries.rows import RunRow, RunTaskRow
from horsies.db.queries.worker import announce, notify_wake

_LIST = (
    "select state.* from horsies.workflow_list(%s::text, %s::int) as listed (id)"
    " cross join lateral horsies.workflow_state(listed.id) as state"
)


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A run to start: its compiled spec (``document``), and the SHA-256 of that (``fingerprint``)."""

    run_id: UUID
    document: bytes
    fingerprint: bytes


def workflow_start(request: RunRequest, connection: object = UNSET) -> Call[str]:
    """Start a run; returns ``started``, ``known`` or ``mismatch``. Repeating the call is safe."""
    params = (request.run_id, RawJson(request.document), request.fingerprint)
    return Call("select horsies.workflow_start(%s, %s::json, %s)", params, scalar, notify_wake(), connection)


def workflow_control(run_id: UUID, action: str, *, who: str | None = None) -> Call[str]:
    """``pause``, ``resume`` or ``cancel`` a run; returns ``changed``, ``unchanged`` or ``unknown``.

    With ``who``, the name of a person or program that operates the queue, the action is recorded.
    """
    return Call("select horsies.workflow_control(%s, %s, %s)", (run_id, action, who), scalar, hint=announce())


def workflow_attach(task_id: UUID, attempt: int, request: RunRequest) -> Call[str]:
    """Start the child run of a sub-workflow node, from the task that builds it.

    Returns ``attached`` or ``known``; any other word says why the run was not started.
    """
    params = (task_id, attempt, request.run_id, RawJson(request.document), request.fingerprint)
    return Call("select horsies.workflow_attach(%s, %s::int, %s, %s::json, %s)", params, scalar, hint=announce())


def workflow_map(task_id: UUID, attempt: int) -> Call[str]:
    """Expand or collect a map, depending on its state; returns ``done`` or ``lost``."""
    return Call("select horsies.workflow_map(%s, %s::int)", (task_id, attempt), scalar, hint=announce())


def workflow_inputs(run_id: UUID, index: int) -> Call[bytes]:
    """Return the inputs of the task of a node, without a limit on their size."""
    return Call("select horsies.workflow_inputs(%s, %s::int, %s::int)", (run_id, index, None), scalar)


def workflow_state(run_id: UUID, *, with_secrets: bool = False) -> Call[RunRow | None]:
    """Return the state of a run; None: there is no such run.

    With ``with_secrets``, the result is complete for roles that may see secrets. Only handles need it.
    """
    return Call("select * from horsies.workflow_state(%s, %s)", (run_id, with_secrets), first(RunRow))


def workflow_tasks(
    run_id: UUID, node_id: str | None = None, *, with_results: bool, with_secrets: bool = False
) -> Call[list[RunTaskRow]]:
    """Return the nodes of a run in the order of its spec, or only the one with ``node_id``.

    With ``with_secrets``, results and summaries are complete for roles that may see secrets. Only handles need it.
    """
    params = (run_id, node_id, with_results, with_secrets)
    return Call("select * from horsies.workflow_tasks(%s, %s::text, %s, %s)", params, many(RunTaskRow))


def workflow_list(status: str | None, limit: int) -> Call[list[RunRow]]:
    """Return the latest runs, newest first."""
    return Call(_LIST, (status, limit), many(RunRow))


def workflow_prune(keep_hours: float, limit: int) -> Call[int]:
    """Delete runs that ended more than ``keep_hours`` ago; returns their number."""
    return Call("select horsies.workflow_prune(%s::float8, %s::int)", (keep_hours, limit), scalar)
