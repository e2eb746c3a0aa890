"""Workflow runs and their nodes, as typed answers without results."""

from dataclasses import dataclass
from datetime import datetime

from horsies.codes import WorkflowStatus, WorkflowTaskStatus
from horsies.db.operations import Operation
from horsies.db.queries import workflows as workflow_queries
from horsies.db.queries.rows import RunRow, RunTaskRow
from horsies.monitoring.asking import answered, refused, wrong_limit
from horsies.monitoring.broker import Broker
from horsies.plain import short_repr
from horsies.producer.handle import BrokerResult, parse_id

_MOST_RUNS = 1000


@dataclass(frozen=True, slots=True)
class Run:
    """A workflow run. Times are aware, in UTC, by the clock of the database.

    Attributes:
        run_id: The id of the run.
        name: The name of the workflow.
        status: The state of the run.
        nodes: The number of its nodes.
        completed: How many nodes have completed.
        failed: How many nodes have failed.
        skipped: How many nodes were skipped.
        started_at: When the run was started.
        finished_at: When the run ended; None: it has not ended.
    """

    run_id: str
    name: str
    status: WorkflowStatus
    nodes: int
    completed: int
    failed: int
    skipped: int
    started_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class RunNode:
    """A node of a workflow run. Times are aware, in UTC, by the clock of the database.

    Attributes:
        index: The index of the node in the spec.
        node_id: The id of the node.
        task_name: The name of its task.
        status: The state of the node.
        error_code: The code of its error; None: it has not failed.
        waits_for: The indexes of the nodes that it waits for.
        child_run_id: The id of the child run of a sub-workflow node; None before it is built, and for other nodes.
        started_at: When its task started; None: it has not started.
        finished_at: When the node ended; None: it has not ended.
    """

    index: int
    node_id: str
    task_name: str
    status: WorkflowTaskStatus
    error_code: str | None
    waits_for: tuple[int, ...]
    child_run_id: str | None
    started_at: datetime | None
    finished_at: datetime | None


def runs(broker: Broker, *, status: WorkflowStatus | None = None, limit: int = 100) -> BrokerResult[tuple[Run, ...]]:
    """Return workflow runs, the most recently started first. Child runs are left out.

    Args:
        broker: The broker of the app: ``app.get_broker()``.
        status: The state of the runs; None: any state.
        limit: The largest number of runs, 1 to 1,000.

    Returns:
        The runs; or an error with MONITORING_QUERY_FAILED.
    """
    return broker.runner.run(_runs(status, limit))


async def runs_async(
    broker: Broker, *, status: WorkflowStatus | None = None, limit: int = 100
) -> BrokerResult[tuple[Run, ...]]:
    """Like `runs`, for asyncio."""
    return await broker.runner.run_async(_runs(status, limit))


def run_nodes(broker: Broker, run_id: str) -> BrokerResult[tuple[RunNode, ...]]:
    """Return the nodes of a workflow run, in the order of its spec.

    Args:
        broker: The broker of the app: ``app.get_broker()``.
        run_id: The id of the run, also of a child run.

    Returns:
        The nodes, none if there is no such run; or an error with MONITORING_QUERY_FAILED.
    """
    return broker.runner.run(_run_nodes(run_id))


async def run_nodes_async(broker: Broker, run_id: str) -> BrokerResult[tuple[RunNode, ...]]:
    """Like `run_nodes`, for asyncio."""
    return await broker.runner.run_async(_run_nodes(run_id))


def _runs(status: WorkflowStatus | None, limit: int) -> Operation[BrokerResult[tuple[Run, ...]]]:
    if (wrong := wrong_limit(limit, 1, _MOST_RUNS)) is not None:
        return wrong

    def decoded(rows: list[RunRow]) -> tuple[Run, ...]:
        return tuple(_run(row) for row in rows)

    return (yield from answered(workflow_queries.workflow_list(status, limit))).map(decoded)


def _run(row: RunRow) -> Run:
    return Run(
        run_id=str(row.workflow_id),
        name=row.name,
        status=WorkflowStatus(row.status),
        nodes=row.total,
        completed=row.completed,
        failed=row.failed,
        skipped=row.skipped,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )


def _run_nodes(run_id: str) -> Operation[BrokerResult[tuple[RunNode, ...]]]:
    known_id = parse_id(run_id)
    if known_id is None:
        return refused(f"run_id must be the id of a run, got {short_repr(run_id)}")

    def decoded(rows: list[RunTaskRow]) -> tuple[RunNode, ...]:
        return tuple(_node(row) for row in rows)

    return (yield from answered(workflow_queries.workflow_tasks(known_id, with_results=False))).map(decoded)


def _node(row: RunTaskRow) -> RunNode:
    return RunNode(
        index=row.node_index,
        node_id=row.node_id,
        task_name=row.task_name,
        status=WorkflowTaskStatus(row.status),
        error_code=row.error_code,
        waits_for=tuple(row.waits_for),
        child_run_id=None if row.child_id is None else str(row.child_id),
        started_at=row.started_at,
        finished_at=row.finished_at,
    )
