"""`WorkflowSpec`: a workflow that was described and found to be in order."""

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar
from uuid import UUID

from horsies.codes import OnError
from horsies.db.operations import UNSET, Operation
from horsies.errors import SourceLocation, caller_location, report
from horsies.producer.send import Producer, sends_are_suppressed
from horsies.task_result import TaskError, TaskResult
from horsies.tasks.registry import Registry
from horsies.workflows.handle import WorkflowHandle
from horsies.workflows.nodes import AnyNode, Node, NodeKey, note_indexes
from horsies.workflows.start import WorkflowStartError, WorkflowStartResult, retry_start, start, without_app
from horsies.workflows.validation.spec import Validation

if TYPE_CHECKING:
    from horsies.workflows.definition import AnyDefinition

type Outputs = dict[str, TaskResult[Any, TaskError]]
"""What comes out of a run without an output node: the results of the nodes without dependents, by their ids."""

Out_co = TypeVar("Out_co", covariant=True, default=Outputs)


class App(Protocol):
    """What a workflow needs of its app: a `Horsies` has it."""

    registry: Registry
    """The tasks."""

    producer: Producer
    """What it sends with."""


@dataclass(frozen=True, slots=True)
class SuccessCase:
    """One way for a run to succeed.

    Attributes:
        required: the nodes that have to complete.
    """

    required: Sequence[AnyNode]


@dataclass(frozen=True, slots=True)
class SuccessPolicy:
    """What makes a run COMPLETED although nodes failed: all required nodes of any case.

    Attributes:
        cases: at least one.
        optional: nodes whose failure does not pause a run with ``OnError.PAUSE``.
    """

    cases: Sequence[SuccessCase]
    optional: Sequence[AnyNode] = ()


BUILDING: ContextVar["AnyDefinition | None"] = ContextVar("horsies_building", default=None)
"""The definition whose `build` or `build_with` runs."""


class WorkflowSpec(Generic[Out_co]):
    """A workflow with an output of type ``T``, in order and ready to be started, any number of times.

    Attributes:
        name: for people.
        tasks: its nodes; the place of one is its index.
        output: the node whose result is that of the run.
        on_error: what a failed node does to the run.
        success_policy: what makes a run succeed; None: every node has to.
        definition_key: what runs of this workflow are known by.
        app: where it runs.
        location: where it was made.
        node_ids: of the nodes, in their order.
        is_whole: nothing will be added to it; else only what stays wrong, whatever is added, is found.
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
        """Describe and check a workflow.

        Args:
            name: for people; part of the ids of nodes that have none.
            tasks: the nodes, in any order.
            output: the node whose result is that of the run; None: a dict of the results of nodes without dependents.
            on_error: ``"fail"`` or ``"pause"``, or the member.
            success_policy: what makes a run succeed although nodes failed.
            definition_key: unique, and the same for as long as runs of it may exist; within ``build_with`` that of
                the definition.
            app: where it runs; `Horsies.workflow` passes itself.
            location: where it is described, if that is not the line of the call.

        Raises:
            WorkflowValidationError: HRS-001 to HRS-026 or HRS-031, with the place of the node in the source; several
                at once as `MultipleValidationErrors`.
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
        """Show the name and how many nodes there are."""
        return f"<workflow {self.name!r} of {len(self.tasks)} nodes>"

    def start(
        self, workflow_id: str | UUID | None = None, *, connection: object = UNSET
    ) -> WorkflowStartResult[WorkflowHandle[Out_co]]:
        """Start a run.

        Args:
            workflow_id: a UUID; the same id starts one run at most, however often. Default: a new one.
            connection: one of your own, in whose open transaction the run is started; see `TaskFunction.with_options`.

        Returns:
            Its handle; or an error, of which ENQUEUE_FAILED can be given to `retry_start`. Nothing is raised.
        """
        return self._run(start(self, workflow_id, connection=connection))

    async def start_async(
        self, workflow_id: str | UUID | None = None, *, connection: object = UNSET
    ) -> WorkflowStartResult[WorkflowHandle[Out_co]]:
        """The same as `start`, awaited."""
        return await self._run_async(start(self, workflow_id, connection=connection))

    def retry_start(self, error: WorkflowStartError) -> WorkflowStartResult[WorkflowHandle[Out_co]]:
        """Replay a `start` that failed with ENQUEUE_FAILED; one run at most comes of it, however often."""
        return self._run(retry_start(self, error))

    async def retry_start_async(self, error: WorkflowStartError) -> WorkflowStartResult[WorkflowHandle[Out_co]]:
        """The same as `retry_start`, awaited."""
        return await self._run_async(retry_start(self, error))

    def _run[R](self, operation: Operation[R]) -> R:
        return without_app(operation) if self.app is None else self.app.producer.runner.run(operation)

    async def _run_async[R](self, operation: Operation[R]) -> R:
        return without_app(operation) if self.app is None else await self.app.producer.runner.run_async(operation)

    def index_of(self, node: AnyNode | NodeKey[Any, Any]) -> int:
        """The place of a node: one of the spec's own, or one with an id.

        Raises:
            KeyError: the spec has no such node.
        """
        if isinstance(node, Node) and node in self.index:
            return self.index[node]
        if node.node_id in self.node_ids:
            return self.node_ids.index(node.node_id)
        msg = f"workflow {self.name!r} has no {node!r}"
        raise KeyError(msg)


class PartialSpec(WorkflowSpec[Out_co]):
    """What is known of a workflow before the ``build_with`` of its definition has parameters: for checks."""

    is_whole = False
