"""`WorkflowSpec`: a validated workflow, which can be started any number of times."""

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar
from uuid import UUID

from horsies.codes import OnError
from horsies.db.operations import UNSET, Operation
from horsies.errors import SourceLocation, caller_location, report
from horsies.producer.send import Producer
from horsies.producer.suppression import sends_are_suppressed
from horsies.task_result import TaskError, TaskResult
from horsies.tasks.registry import Registry
from horsies.workflows.handle import WorkflowHandle
from horsies.workflows.nodes import AnyNode, Node, NodeKey, note_indexes
from horsies.workflows.start import WorkflowStartError, WorkflowStartResult, retry_start, start, without_app
from horsies.workflows.validation.spec import Validation

if TYPE_CHECKING:
    from horsies.workflows.definition import AnyDefinition

type Outputs = dict[str, TaskResult[Any, TaskError]]
"""The output of a run without an output node: the results of the nodes without dependents, by their ids."""

Out_co = TypeVar("Out_co", covariant=True, default=Outputs)


class App(Protocol):
    """The interface of the app that workflows use. `Horsies` implements it."""

    registry: Registry
    """The tasks of the app."""

    producer: Producer
    """The producer with which the app sends tasks."""


@dataclass(frozen=True, slots=True)
class SuccessCase:
    """One way for a run to succeed.

    Attributes:
        required: The nodes that must complete.
    """

    required: Sequence[AnyNode]


@dataclass(frozen=True, slots=True)
class SuccessPolicy:
    """When a run is COMPLETED although nodes failed: all required nodes of at least one case completed.

    Attributes:
        cases: The cases, at least one.
        optional: Nodes whose failure does not pause a run with ``OnError.PAUSE``.
    """

    cases: Sequence[SuccessCase]
    optional: Sequence[AnyNode] = ()


BUILDING: ContextVar["AnyDefinition | None"] = ContextVar("horsies_building", default=None)
"""The definition whose `build` or `build_with` is running; None if there is none."""


class WorkflowSpec(Generic[Out_co]):
    """A validated workflow with an output of type ``T``. It can be started any number of times.

    Attributes:
        name: The name of the workflow, for people.
        tasks: The nodes. The index of a node is its position in this tuple.
        output: The node whose result is the result of the run; None: all nodes without dependents.
        on_error: How a run reacts when a node fails.
        success_policy: When a run succeeds although nodes failed; None: never.
        definition_key: The key that identifies runs of this workflow.
        app: The app that runs the workflow; None if it is passed at the start.
        location: The line of source code that made the spec.
        node_ids: The ids of the nodes, in the order of ``tasks``.
        is_whole: Whether the spec is complete. For a partial spec, validation reports only errors that no addition
            could fix.
    """

    is_whole: ClassVar[bool] = True

    def __init__(  # noqa: PLR0913 - one keyword an option
        self,
        name: str,
        tasks: Sequence[AnyNode],
        *,
        output: Node[Out_co, Any] | None = None,
        on_error: OnError | str = OnError.FAIL,
        success_policy: SuccessPolicy | None = None,
        definition_key: str | None = None,
        app: App | None = None,
        location: SourceLocation | None = None,
    ) -> None:
        """Validate a workflow.

        Args:
            name: The name of the workflow, for people. It is also part of the default node ids.
            tasks: The nodes, in any order.
            output: The node whose result is the result of the run; None: a dict of the results of all nodes without
                dependents.
            on_error: A member of `OnError`, or its value ``"fail"`` or ``"pause"``.
            success_policy: When a run succeeds although nodes failed; None: never.
            definition_key: A unique key, which must stay the same as long as runs of the workflow exist. Default in a
                ``build_with``: the key of the definition.
            app: The app that runs the workflow. `Horsies.workflow` passes itself.
            location: The line of source code to report. Default: the line of the call.

        Raises:
            WorkflowValidationError: HRS-001 to HRS-026 or HRS-031: The workflow is invalid. Errors have the location
                of the node. Several problems are raised together as `MultipleValidationErrors`.
        """
        building = BUILDING.get()
        self.name = name
        self.tasks = tuple(tasks)
        self.output = output
        self.on_error = on_error
        self.success_policy = success_policy
        self.definition_key = definition_key or getattr(building, "definition_key", None)
        self.app = app
        self.location = location or caller_location()
        if building is not None:
            building.note_contents(self.tasks)
        validation = Validation(self)
        report(validation.problems())
        self.node_ids = validation.node_ids
        self.index = validation.index
        self.plan = validation.plan
        if self.is_whole:
            note_indexes(self.tasks)
        if app is not None and sends_are_suppressed():
            app.registry.workflows.add(self.definition_key or name)

    def __repr__(self) -> str:
        """Show the name and the number of nodes."""
        return f"<workflow {self.name!r} of {len(self.tasks)} nodes>"

    def start(
        self, workflow_id: str | UUID | None = None, *, connection: object = UNSET
    ) -> WorkflowStartResult[WorkflowHandle[Out_co]]:
        """Start a run.

        Args:
            workflow_id: A UUID. Any number of starts with the same id creates at most one run. Default: a new UUID.
            connection: An open connection of the caller, in whose transaction the run is started; see
                `TaskFunction.with_options`.

        Returns:
            The handle of the run, or an error. An error with ENQUEUE_FAILED can be passed to `retry_start`.
        """
        return self._run(start(self, workflow_id, connection=connection))

    async def start_async(
        self, workflow_id: str | UUID | None = None, *, connection: object = UNSET
    ) -> WorkflowStartResult[WorkflowHandle[Out_co]]:
        """Like `start`, for asyncio."""
        return await self._run_async(start(self, workflow_id, connection=connection))

    def retry_start(self, error: WorkflowStartError) -> WorkflowStartResult[WorkflowHandle[Out_co]]:
        """Retry a `start` that failed with ENQUEUE_FAILED. Any number of retries creates at most one run."""
        return self._run(retry_start(self, error))

    async def retry_start_async(self, error: WorkflowStartError) -> WorkflowStartResult[WorkflowHandle[Out_co]]:
        """Like `retry_start`, for asyncio."""
        return await self._run_async(retry_start(self, error))

    def _run[R](self, operation: Operation[R]) -> R:
        return without_app(operation) if self.app is None else self.app.producer.runner.run(operation)

    async def _run_async[R](self, operation: Operation[R]) -> R:
        return without_app(operation) if self.app is None else await self.app.producer.runner.run_async(operation)

    def index_of(self, node: AnyNode | NodeKey[Any, Any]) -> int:
        """Return the index of a node of the spec, or of the node with the same id.

        Raises:
            KeyError: The spec has no such node.
        """
        if isinstance(node, Node) and node in self.index:
            return self.index[node]
        if node.node_id in self.node_ids:
            return self.node_ids.index(node.node_id)
        msg = f"workflow {self.name!r} has no {node!r}"
        raise KeyError(msg)


class PartialSpec(WorkflowSpec[Out_co]):
    """The part of a workflow that its definition declares, without the additions of ``build_with``. Used by checks."""

    is_whole = False
