"""The calls about workflow runs: of producers, and of children that build, expand and collect for one."""

from dataclasses import dataclass
from uuid import UUID

from horsies.db.adapt import RawJson
from horsies.db.operations import UNSET, Call, first, many, scalar
from horsies.db.queries.rows import RunRow, RunTaskRow
from horsies.db.queries.worker import notify_wake

_LIST = (
    "select state.* from horsies.workflow_list(%s::text, %s::int) as listed (id)"
    " cross join lateral horsies.workflow_state(listed.id) as state"
)


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A run as the database takes it: what its spec was compiled to, and the SHA-256 of that."""

    run_id: UUID
    document: bytes
    fingerprint: bytes


def workflow_start(request: RunRequest, connection: object = UNSET) -> Call[str]:
    """Start a run; answers ``started``, ``known`` or ``mismatch``. It may be replayed."""
    params = (request.run_id, RawJson(request.document), request.fingerprint)
    return Call("select horsies.workflow_start(%s, %s::json, %s)", params, scalar, notify_wake(), connection)


def workflow_control(run_id: UUID, action: str) -> Call[str]:
    """``pause``, ``resume`` or ``cancel`` a run; answers ``changed``, ``unchanged`` or ``unknown``."""
    return Call("select horsies.workflow_control(%s, %s)", (run_id, action), scalar)


def workflow_attach(task_id: UUID, attempt: int, request: RunRequest) -> Call[str]:
    """Start the run that the node of a building task is; answers ``attached``, ``known``, ``lost`` or ``recursive``."""
    params = (task_id, attempt, request.run_id, RawJson(request.document), request.fingerprint)
    return Call("select horsies.workflow_attach(%s, %s::int, %s, %s::json, %s)", params, scalar)


def workflow_map(task_id: UUID, attempt: int) -> Call[str]:
    """Expand or collect a map, whatever is next; answers ``done`` or ``lost``."""
    return Call("select horsies.workflow_map(%s, %s::int)", (task_id, attempt), scalar)


def workflow_inputs(run_id: UUID, index: int) -> Call[bytes]:
    """What the task of a node gets of its run, however large."""
    return Call("select horsies.workflow_inputs(%s, %s::int, %s::int)", (run_id, index, None), scalar)


def workflow_state(run_id: UUID) -> Call[RunRow | None]:
    """Where a run stands; None: there is no such run."""
    return Call("select * from horsies.workflow_state(%s)", (run_id,), first(RunRow))


def workflow_tasks(run_id: UUID, node_id: str | None = None, *, with_results: bool) -> Call[list[RunTaskRow]]:
    """The nodes of a run in the order of its spec, or the one of that id."""
    params = (run_id, node_id, with_results)
    return Call("select * from horsies.workflow_tasks(%s, %s::text, %s)", params, many(RunTaskRow))


def workflow_list(status: str | None, most: int) -> Call[list[RunRow]]:
    """The latest runs, newest first."""
    return Call(_LIST, (status, most), many(RunRow))


def workflow_prune(keep_hours: float, most: int) -> Call[int]:
    """Forget runs that ended longer ago than that; answers how many."""
    return Call("select horsies.workflow_prune(%s::float8, %s::int)", (keep_hours, most), scalar)
