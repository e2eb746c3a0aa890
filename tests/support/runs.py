"""Workflow runs created by the server functions: compiled documents, and the states of their nodes."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from horsies.db.queries import workflows as workflow_queries
from horsies.db.queries.rows import RunRow, RunTaskRow
from horsies.db.queries.worker import Fence
from horsies.db.queries.workflows import RunRequest
from tests.support.factories import DrivenWorker, done, failed
from tests.support.sessions import Session, call, column

type Node = dict[str, Any]


def node(*waits_for: int, **options: Any) -> Node:
    """Return a node of a document that waits for the given nodes and otherwise has default values."""
    return {
        "kind": "task",
        "task_name": "add",
        "queue": "default",
        "priority": 100,
        "args": {},
        "args_from": {},
        "ctx_from": None,
        "wants_ctx": False,
        "wants_meta": False,
        "waits_for": list(waits_for),
        "join": "all",
        "min_success": None,
        "allow_failed_deps": False,
        "good_until": None,
        "timeout_ms": None,
        "retry_policy": None,
        "over": None,
        "item_parameter": None,
        "max_parallel": None,
        **options,
    }


def document(nodes: Sequence[Node], **options: Any) -> bytes:
    """Return the document of a spec with these nodes. Nodes without an id are named ``n0``, ``n1``, …."""
    named = [{"node_id": f"n{index}", **each} for index, each in enumerate(nodes)]
    whole = {
        "name": "flow",
        "definition_key": "test.flow.v1",
        "on_error": "fail",
        "output": None,
        "cases": None,
        "optional": [],
        "nodes": named,
        **options,
    }
    return json.dumps(whole).encode()


def request(nodes: Sequence[Node], run_id: UUID | None = None, **options: Any) -> RunRequest:
    """Return the request of a producer to start a run."""
    written = document(nodes, **options)
    return RunRequest(run_id or uuid7(), written, hashlib.sha256(written).digest())


def start(session: Session, *nodes: Node, **options: Any) -> UUID:
    """Start a run, and require that it is accepted."""
    wanted = request(nodes, **options)
    assert call(session, workflow_queries.workflow_start(wanted)) == "started"
    return wanted.run_id


def control(session: Session, run_id: UUID, action: str) -> str:
    """Pause, resume or cancel a run."""
    return call(session, workflow_queries.workflow_control(run_id, action))


def state(session: Session, run_id: UUID) -> RunRow:
    """Return the state of a run."""
    found = call(session, workflow_queries.workflow_state(run_id))
    assert found is not None, f"no run {run_id}"
    return found


def nodes_of(session: Session, run_id: UUID) -> list[RunTaskRow]:
    """Return the nodes of a run, with their results."""
    return call(session, workflow_queries.workflow_tasks(run_id, with_results=True))


def statuses(session: Session, run_id: UUID) -> list[str]:
    """Return the states of a run's nodes, in their order."""
    return [each.status for each in nodes_of(session, run_id)]


def read(stored: bytes | None) -> Any:
    """Decode stored JSON."""
    assert stored is not None
    return json.loads(stored)


def fences(session: Session, worker: DrivenWorker, run_id: UUID) -> dict[int, Fence]:
    """Claim all due tasks; return the claims of this run by the index of their node."""
    claims = {fence.task_id: fence for fence in worker.claim(10_000)}
    sql = "select array[id::text, node_index::text] from horsies.tasks where workflow_id = %s and status = 'RUNNING'"
    rows = column(session, sql, run_id)
    return {int(index): claims[UUID(task)] for task, index in rows if UUID(task) in claims}


def finish(session: Session, worker: DrivenWorker, run_id: UUID, *failing: int) -> list[int]:
    """Claim the due tasks of a run and finish them in one batch, some as failures. Return the indexes of the nodes."""
    claims = fences(session, worker, run_id)
    worker.finish(
        *(failed(fence) if index in failing else done(fence, str(index).encode()) for index, fence in claims.items())
    )
    return sorted(claims)


def attach(session: Session, worker: DrivenWorker, *nodes: Node, **options: Any) -> UUID:
    """Claim a task that builds a child run, attach a run with these nodes, and finish the task. Return the run."""
    (task,) = worker.ask().tasks
    wanted = request(nodes, **{"definition_key": f"test.{task.id}", **options})
    assert call(session, workflow_queries.workflow_attach(task.id, task.attempt, wanted)) == "attached"
    assert worker.finish(done(Fence(task.id, worker.exchange_no), b"null")) == ["accepted"]
    return wanted.run_id


def map_once(session: Session, worker: DrivenWorker) -> str:
    """Claim a task that expands or collects a map, perform that step, and finish the task."""
    (task,) = worker.ask().tasks
    verdict = call(session, workflow_queries.workflow_map(task.id, task.attempt))
    assert worker.finish(done(Fence(task.id, worker.exchange_no), b"null")) == ["accepted"]
    return verdict
