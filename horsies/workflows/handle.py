"""`WorkflowHandle`: the result, the state and the control of a workflow run."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from pydantic import ValidationError

from horsies.codec.adapters import CodecError
from horsies.codec.text import decode_json, encode_json
from horsies.codec.wire import ResultCodec
from horsies.codes import (
    HandleErrorCode,
    OperationalErrorCode,
    OutcomeCode,
    RetrievalCode,
    WorkflowStatus,
    WorkflowTaskStatus,
)
from horsies.db.operations import Call, CallFailedError, Operation, Runner, immediately
from horsies.db.queries import workflows as workflow_queries
from horsies.db.queries.rows import StoredResult
from horsies.producer.handle import CodecFor, await_outcome, parse_id, uncommitted
from horsies.result import Err, Ok, Result
from horsies.task_result import TaskError, TaskResult, failed_with
from horsies.workflows.nodes import AnyNode, Node, NodeKey, list_codec, required_id
from horsies.workflows.summary import SubWorkflowError, SubWorkflowSummary, read_summary

if TYPE_CHECKING:
    from horsies.db.queries.rows import RunRow, RunTaskRow
    from horsies.workflows.spec import WorkflowSpec

_PLAIN = ResultCodec(object)
_OF_CHILD = ResultCodec(object, SubWorkflowError)


class RunBroker(Protocol):
    """The interface of the broker that a workflow handle uses. `Broker` implements it."""

    @property
    def runner(self) -> Runner:
        """Runs operations."""
        ...

    @property
    def codec_for(self) -> CodecFor:
        """Returns the result codec of a task by its name."""
        ...


@dataclass(frozen=True, slots=True)
class HandleOperationError:
    """Why an operation on a workflow handle failed.

    Attributes:
        code: The kind of failure.
        message: A description of the failure.
        retryable: Whether the same operation may succeed later.
        workflow_id: The id of the run.
        exception: The exception of the database driver; None if there was none.
    """

    code: HandleErrorCode
    message: str
    retryable: bool
    workflow_id: str
    exception: BaseException | None = None


type HandleResult[T] = Result[T, HandleOperationError]


@dataclass(frozen=True, slots=True)
class WorkflowTaskInfo:
    """A node of a run. Times are aware datetimes in UTC, by the clock of the database.

    Attributes:
        node_id: The id of the node.
        index: The index of the node in the spec.
        name: The name of its task.
        status: The state of the node.
        result: The result; None if the node has not ended.
        started_at: When its task started; None if it has not started.
        completed_at: When the node ended, with success or not; None if it has not ended.
        sub_workflow_id: The id of the child run of a sub-workflow node; None before it is built, and for other nodes.
        sub_workflow_summary: How the child run ended; None before it ended, and for other nodes.
    """

    node_id: str
    index: int
    name: str
    status: WorkflowTaskStatus
    result: TaskResult[Any, TaskError] | None
    started_at: datetime | None
    completed_at: datetime | None
    sub_workflow_id: str | None = None
    sub_workflow_summary: SubWorkflowSummary[Any] | None = None


class WorkflowHandle[T]:
    """A run of a workflow.

    Attributes:
        workflow_id: The id of the run, a UUID as text. If the text is not a UUID, every operation fails with
            WORKFLOW_NOT_FOUND.
    """

    def __init__(
        self, workflow_id: str, broker: RunBroker, spec: "WorkflowSpec[T] | None" = None, *, is_committed: bool = True
    ) -> None:
        """Make the handle of a run by its id: ``WorkflowHandle(workflow_id, app.get_broker())``.

        Args:
            workflow_id: The id of the run.
            broker: The broker of the app.
            spec: The workflow that the run executes, if it is known; its types are used to decode results.
            is_committed: False if the run was started in a transaction of the caller that may not be committed yet.
                `get` then waits until the run exists.
        """
        self._id = parse_id(workflow_id)
        self.workflow_id = str(self._id or workflow_id)
        self._broker = broker
        self._spec = spec
        self._is_committed = is_committed

    def __repr__(self) -> str:
        """Show the id."""
        return f"WorkflowHandle({self.workflow_id!r})"

    def get(self, timeout_ms: int | None = None) -> TaskResult[T, TaskError]:
        """Block until the run has ended, and return its outcome.

        Args:
            timeout_ms: How long to wait, in milliseconds; None: without limit.

        Returns:
            The result of the output node, or else the results of all nodes without dependents by their ids; the error
            of a failed run; or an error with WORKFLOW_CANCELLED, WORKFLOW_PAUSED (returned immediately), WAIT_TIMEOUT,
            WORKFLOW_NOT_FOUND or BROKER_ERROR.
        """
        return self._broker.runner.run(self._get(timeout_ms))

    async def get_async(self, timeout_ms: int | None = None) -> TaskResult[T, TaskError]:
        """Like `get`, for asyncio."""
        return await self._broker.runner.run_async(self._get(timeout_ms))

    def result_for[R, E: TaskError](self, node: Node[R, E] | NodeKey[R, E]) -> TaskResult[R, E]:
        """Return the result of a node without waiting; an error with RESULT_NOT_READY if it has not ended.

        Raises:
            KeyError: The spec of the handle has no such node.
            WorkflowContextMissingIdError: The node has no id, and the handle has no spec.
        """
        return self._broker.runner.run(self._result_for(node))

    async def result_for_async[R, E: TaskError](self, node: Node[R, E] | NodeKey[R, E]) -> TaskResult[R, E]:
        """Like `result_for`, for asyncio."""
        return await self._broker.runner.run_async(self._result_for(node))

    def status(self) -> HandleResult[WorkflowStatus]:
        """Return the state of the run."""
        return self._broker.runner.run(self._status())

    async def status_async(self) -> HandleResult[WorkflowStatus]:
        """Like `status`, for asyncio."""
        return await self._broker.runner.run_async(self._status())

    def results(self) -> HandleResult[dict[str, TaskResult[Any, TaskError]]]:
        """Return the results of all nodes that have ended, by their ids."""
        return self._broker.runner.run(self._results())

    async def results_async(self) -> HandleResult[dict[str, TaskResult[Any, TaskError]]]:
        """Like `results`, for asyncio."""
        return await self._broker.runner.run_async(self._results())

    def tasks(self) -> HandleResult[list[WorkflowTaskInfo]]:
        """Return all nodes of the run, in the order of the spec."""
        return self._broker.runner.run(self._tasks())

    async def tasks_async(self) -> HandleResult[list[WorkflowTaskInfo]]:
        """Like `tasks`, for asyncio."""
        return await self._broker.runner.run_async(self._tasks())

    def cancel(self) -> HandleResult[bool]:
        """Cancel the run and its child runs: waiting nodes are skipped, and running tasks are stopped.

        Returns:
            ``Ok(True)`` if this call cancelled the run, ``Ok(False)`` if it had already ended.
        """
        return self._broker.runner.run(self._control("cancel"))

    async def cancel_async(self) -> HandleResult[bool]:
        """Like `cancel`, for asyncio."""
        return await self._broker.runner.run_async(self._control("cancel"))

    def pause(self) -> HandleResult[bool]:
        """Pause the run and its child runs: no further nodes start, and running tasks finish normally.

        Returns:
            ``Ok(True)`` if this call paused a run, ``Ok(False)`` if none of the runs was active.
        """
        return self._broker.runner.run(self._control("pause"))

    async def pause_async(self) -> HandleResult[bool]:
        """Like `pause`, for asyncio."""
        return await self._broker.runner.run_async(self._control("pause"))

    def resume(self) -> HandleResult[bool]:
        """Resume the run and its child runs.

        Returns:
            ``Ok(True)`` if this call resumed a run, ``Ok(False)`` if none of the runs was paused.
        """
        return self._broker.runner.run(self._control("resume"))

    async def resume_async(self) -> HandleResult[bool]:
        """Like `resume`, for asyncio."""
        return await self._broker.runner.run_async(self._control("resume"))

    def _get(self, timeout_ms: int | None) -> Operation[TaskResult[T, TaskError]]:
        if self._id is None:
            return immediately(failed_with(RetrievalCode.WORKFLOW_NOT_FOUND, self._missing()))
        return await_outcome(self._id, timeout_ms, self._fetch_outcome, self._describe)

    def _describe(self) -> str:
        return f"run {self._id}{uncommitted(self._is_committed)}"

    def _missing(self) -> str:
        if self._id is None:
            return f"there is no run {self.workflow_id!r}: the id of a run must be a UUID"
        return f"there is no run {self._id}; it may have been pruned"

    def _fetch_outcome(
        self, run_id: UUID, _pushed_result: StoredResult | None
    ) -> Operation[TaskResult[Any, TaskError] | None]:
        run: RunRow | None = yield workflow_queries.workflow_state(run_id, with_secrets=True)
        if run is None:
            missing = failed_with(RetrievalCode.WORKFLOW_NOT_FOUND, self._missing())
            return missing if self._is_committed else None
        match WorkflowStatus(run.status):
            case WorkflowStatus.PAUSED:
                message = f"run {self._id} is paused: call resume() to continue it"
                return failed_with(OutcomeCode.WORKFLOW_PAUSED, message)
            case WorkflowStatus.FAILED | WorkflowStatus.CANCELLED:
                return _decode_error(run.error or b"{}")
            case WorkflowStatus.COMPLETED if run.output_index is not None:
                codec = self._codec(run.output_index, run.output_kind, run.output_task)
                return _decode(codec, run.output_status, run.output_result or b"null")
            case WorkflowStatus.COMPLETED:
                rows: list[RunTaskRow] = yield _tasks_with_secrets(run_id)
                return TaskResult(ok={row.node_id: self._decode(row) for row in rows if row.is_leaf})
            case _:
                return None

    def _result_for(self, node: AnyNode | NodeKey[Any, Any]) -> Operation[TaskResult[Any, Any]]:
        spec = self._spec
        node_id = required_id(node) if spec is None else spec.node_ids[spec.index_of(node)]
        if self._id is None:
            return failed_with(RetrievalCode.WORKFLOW_NOT_FOUND, self._missing())
        try:
            rows: list[RunTaskRow] = yield _tasks_with_secrets(self._id, node_id)
        except CallFailedError as failure:
            return failed_with(OperationalErrorCode.BROKER_ERROR, failure.message)
        if not rows:
            return failed_with(RetrievalCode.WORKFLOW_NOT_FOUND, f"there is no run {self._id} with a node {node_id!r}")
        if rows[0].result is None:
            return failed_with(RetrievalCode.RESULT_NOT_READY, f"node {node_id!r} is {rows[0].status}")
        if isinstance(node, Node):
            return _decode(node.result_codec(), rows[0].status, rows[0].result)
        return self._decode(rows[0])

    def _status(self) -> Operation[HandleResult[WorkflowStatus]]:
        def read(run: "RunRow | None") -> WorkflowStatus | None:
            return None if run is None else WorkflowStatus(run.status)

        return self._ask(workflow_queries.workflow_state, read)

    def _results(self) -> Operation[HandleResult[dict[str, TaskResult[Any, TaskError]]]]:
        def read(rows: "list[RunTaskRow]") -> dict[str, TaskResult[Any, TaskError]] | None:
            return {row.node_id: self._decode(row) for row in rows if row.result is not None} if rows else None

        return self._ask(_tasks_with_secrets, read)

    def _tasks(self) -> Operation[HandleResult[list[WorkflowTaskInfo]]]:
        return self._ask(_tasks_with_secrets, lambda rows: [self._info(row) for row in rows] or None)

    def _control(self, action: str) -> Operation[HandleResult[bool]]:
        def call_for(run_id: UUID) -> Call[str]:
            return workflow_queries.workflow_control(run_id, action)

        def read(verdict: str) -> bool | None:
            return {"changed": True, "unchanged": False}.get(verdict)

        return self._ask(call_for, read)

    def _ask[A, R](
        self, call_for: Callable[[UUID], Call[A]], read: Callable[[A], R | None]
    ) -> Operation[HandleResult[R]]:
        """Make a call for the run, and convert its answer with ``read``, which returns None if there is no such run."""
        try:
            answer = None if self._id is None else read((yield call_for(self._id)))
        except CallFailedError as failure:
            code, cause = HandleErrorCode.DB_OPERATION_FAILED, failure.__cause__
            return Err(HandleOperationError(code, failure.message, failure.retryable, self.workflow_id, cause))
        if answer is None:
            code = HandleErrorCode.WORKFLOW_NOT_FOUND
            return Err(HandleOperationError(code, self._missing(), retryable=False, workflow_id=self.workflow_id))
        return Ok(answer)

    def _info(self, row: "RunTaskRow") -> WorkflowTaskInfo:
        result = None if row.result is None else self._decode(row)
        status = WorkflowTaskStatus(row.status)
        child = None if row.child_id is None else str(row.child_id)
        return WorkflowTaskInfo(
            row.node_id,
            row.node_index,
            row.task_name,
            status,
            result,
            row.started_at,
            row.finished_at,
            child,
            None if row.summary is None else self._summary(row, row.summary),
        )

    def _summary(self, row: "RunTaskRow", stored: bytes) -> SubWorkflowSummary[Any]:
        """Decode a summary. An output that no longer fits its type is plain JSON; the node's result has the error."""
        try:
            return read_summary(stored, self._codec(row.node_index, row.result_kind, row.result_task).ok_type)
        except ValidationError:
            return read_summary(stored, Any)

    def _decode(self, row: "RunTaskRow") -> TaskResult[Any, TaskError]:
        codec = self._codec(row.node_index, row.result_kind, row.result_task)
        return _decode(codec, row.status, row.result or b"null")

    def _codec(self, index: int, kind: str | None, task_name: str | None) -> ResultCodec:
        if self._spec is not None:
            return self._spec.tasks[index].result_codec()
        codec = self._broker.codec_for(task_name or "")
        return list_codec(codec) if kind == "map" else codec


_tasks_with_secrets = partial(workflow_queries.workflow_tasks, with_results=True, with_secrets=True)


def _decode(codec: ResultCodec, status: str | None, stored: bytes) -> TaskResult[Any, TaskError]:
    return codec.decode(status == WorkflowTaskStatus.COMPLETED, stored)


def _decode_error(stored: bytes) -> TaskResult[Any, TaskError]:
    """Decode the error of a run: a `SubWorkflowError`, or the common fields of an error of another class."""
    try:
        fields = decode_json(stored)
    except CodecError:
        fields = dict[str, object]()
    codec = _OF_CHILD if "sub_workflow_id" in fields else _PLAIN
    known = {name: value for name, value in fields.items() if name in codec.err_type.model_fields}
    return codec.decode(False, encode_json(known))


async def pause_workflow(broker: RunBroker, workflow_id: str) -> HandleResult[bool]:
    """Pause a run; see `WorkflowHandle.pause`."""
    return await WorkflowHandle[Any](workflow_id, broker).pause_async()


async def resume_workflow(broker: RunBroker, workflow_id: str) -> HandleResult[bool]:
    """Resume a paused run; see `WorkflowHandle.resume`."""
    return await WorkflowHandle[Any](workflow_id, broker).resume_async()


def pause_workflow_sync(broker: RunBroker, workflow_id: str) -> HandleResult[bool]:
    """Like `pause_workflow`, blocking."""
    return WorkflowHandle[Any](workflow_id, broker).pause()


def resume_workflow_sync(broker: RunBroker, workflow_id: str) -> HandleResult[bool]:
    """Like `resume_workflow`, blocking."""
    return WorkflowHandle[Any](workflow_id, broker).resume()
