"""What can be wrong with a workflow, all of it at once: HRS-001 to HRS-026 and HRS-031."""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from uuid import UUID

from horsies.codec.problems import show_value
from horsies.codes import OnError
from horsies.errors import ErrorCode, HorsiesError, WorkflowValidationError, caller_location
from horsies.workflows.cycles import find_cycle
from horsies.workflows.nodes import AnyNode, is_node, listed
from horsies.workflows.validate_nodes import NodeValidation, PlannedNode

if TYPE_CHECKING:
    from horsies.workflows.spec import WorkflowSpec

_NODE_ID = re.compile(r"[A-Za-z0-9_\-:.]{1,128}")
_NOT_IN_IDS = re.compile(r"[^A-Za-z0-9_\-:.]+")
_SHOWN_OF_CYCLE = 12
_LONGEST_SLUG = 100


def slugify(text: str) -> str:
    """Make text fit for a node's id: ``"Hello World!"`` is ``"Hello_World"``."""
    return _NOT_IN_IDS.sub("_", text).strip("_")


class Validation:
    """Looks one spec through.

    Attributes:
        index: the place of each node.
        node_ids: of the nodes, in their order; those that have none get one.
        plan: what was worked out about each node on the way.
    """

    def __init__(self, spec: "WorkflowSpec[Any]") -> None:
        """Take a spec that is not known to be in order."""
        self._spec = spec
        self._nodes = [node for node in spec.tasks if is_node(node)]
        self.index: dict[AnyNode, int] = {}
        for place, node in enumerate(spec.tasks):
            if is_node(node):
                self.index.setdefault(node, place)
        slug = slugify(str(spec.name))[:_LONGEST_SLUG]
        self.node_ids = tuple(
            node.node_id if is_node(node) and node.node_id is not None else f"{slug}:{place}"
            for place, node in enumerate(spec.tasks)
        )
        self.plan: tuple[PlannedNode, ...] = ()

    def problems(self) -> list[HorsiesError]:
        """All that is wrong."""
        found = [*self._shape(), *self._ids(), *self._graph(), *self._ends()]
        planned: list[PlannedNode] = []
        ids = {node: self.node_ids[self.index[node]] for node in self._nodes}
        for node in self._nodes:
            validation = NodeValidation(self._spec, node, ids)
            found += validation.problems()
            planned.append(validation.planned())
        self.plan = tuple(planned)
        return found

    def _problem(
        self,
        code: ErrorCode,
        message: str,
        help_text: str,
        node: AnyNode | None = None,
        notes: Sequence[str] = (),
    ) -> HorsiesError:
        location = self._spec.location if node is None else node.location
        return WorkflowValidationError(code, message, location=location, notes=notes, help_text=help_text)

    def _shape(self) -> Iterator[HorsiesError]:
        spec = self._spec
        what = f"workflow {spec.name!r}"
        if not _is_text(spec.name):
            yield self._problem(
                ErrorCode.WORKFLOW_NO_NAME, "a workflow has no name", 'give it one for people: name="ingest"'
            )
        if not spec.tasks:
            yield self._problem(ErrorCode.WORKFLOW_NO_NODES, f"{what} has no nodes", "list them: tasks=[…]")
        for place, node in enumerate(spec.tasks):
            if not is_node(node):
                message = f"{what} has {show_value(node)} in place {place}, which is no node"
                yield self._problem(
                    ErrorCode.WORKFLOW_NO_NODES, message, "make one of a task: TaskNode(fn=task) or task.node()(…)"
                )
        if not _is_text(spec.definition_key):
            yield self._problem(
                ErrorCode.WORKFLOW_NO_DEFINITION_KEY,
                f"{what} has no definition_key",
                'give it one that stays the same for as long as runs of it may exist: definition_key="shop.ingest.v1"',
            )
        if spec.on_error not in list(OnError):
            message = f"{what} has the on_error {show_value(spec.on_error)}"
            yield self._problem(ErrorCode.WORKFLOW_INVALID_SUCCESS_POLICY, message, "use OnError.FAIL or OnError.PAUSE")

    def _ids(self) -> Iterator[HorsiesError]:
        seen: dict[str, AnyNode] = {}
        what = f"workflow {self._spec.name!r}"
        for place, node in enumerate(self._spec.tasks):
            if not is_node(node):
                continue
            node_id = self.node_ids[place]
            if not _is_text(node_id) or not _NODE_ID.fullmatch(node_id):
                message = f"{show_value(node_id)} can't be the id of a node"
                help_text = "use 1 to 128 of the characters A-Z a-z 0-9 _ - : ."
                yield self._problem(ErrorCode.WORKFLOW_INVALID_NODE_ID, message, help_text, node)
            other, code = seen.get(node_id), ErrorCode.WORKFLOW_DUPLICATE_NODE_ID
            if self.index[node] != place:
                yield self._problem(code, f"{what} lists {self._named(node)} twice", "list it once", node)
            elif other is not None:
                message, note = f"two nodes of {what} have the id {node_id!r}", f"the other one is at {other.location}"
                yield self._problem(code, message, "give one of them another node_id", node, [note])
            seen.setdefault(node_id, node)

    def _graph(self) -> Iterator[HorsiesError]:
        what = f"workflow {self._spec.name!r}"
        if self._nodes and all(listed(node.waits_for) for node in self._nodes):
            message = f"every node of {what} waits for another one: none can be the first"
            yield self._problem(ErrorCode.WORKFLOW_NO_ROOT_TASKS, message, "one node at least has no waits_for")
        for node in self._nodes:
            for other in listed(node.waits_for):
                if not self._has(other):
                    where = f" (made at {other.location})" if is_node(other) else ""
                    kind = "none of its nodes" if is_node(other) else "no node"
                    message = f"{self._named(node)} of {what} waits for {other!r}{where}, which is {kind}"
                    help_text = "add it to the workflow's tasks, or leave it out of waits_for"
                    yield self._problem(ErrorCode.WORKFLOW_INVALID_DEPENDENCY, message, help_text, node)
        cycle = find_cycle(self._nodes, lambda node: [each for each in listed(node.waits_for) if self._has(each)])
        if cycle:
            names = [self.node_ids[self.index[node]] for node in cycle]
            notes = [f"{name} waits for {after}" for name, after in pairwise(names)]
            hidden = [f"and so on: {len(notes)} in all"] if len(notes) > _SHOWN_OF_CYCLE else []
            shown = names if not hidden else [*names[:_SHOWN_OF_CYCLE], "…", names[-1]]
            yield self._problem(
                ErrorCode.WORKFLOW_CYCLE_DETECTED,
                f"nodes of {what} wait for each other: {' -> '.join(shown)}",
                "leave one of these dependencies out",
                cycle[0],
                notes[:_SHOWN_OF_CYCLE] + hidden,
            )

    def _ends(self) -> Iterator[HorsiesError]:
        spec = self._spec
        what = f"workflow {spec.name!r}"
        if spec.output is not None and not self._has(spec.output):
            message = f"the output of {what} is {spec.output!r}, which is none of its nodes"
            text = 'name a node; where its name is hidden, as text: output = "…"'
            help_text = "add it to the workflow's tasks" if is_node(spec.output) else text
            yield self._problem(ErrorCode.WORKFLOW_INVALID_OUTPUT, message, help_text)
        if spec.success_policy is None:
            return
        cases = [case.required for case in spec.success_policy.cases]
        if not cases or not all(cases):
            message = f"the success policy of {what} has no case, or a case without a required node"
            help_text = "write SuccessPolicy(cases=[SuccessCase(required=[node])])"
            yield self._problem(ErrorCode.WORKFLOW_INVALID_SUCCESS_POLICY, message, help_text)
        for node in (node for group in (*cases, spec.success_policy.optional) for node in group):
            if not self._has(node):
                message = f"the success policy of {what} names {node!r}, which is none of its nodes"
                yield self._problem(
                    ErrorCode.WORKFLOW_INVALID_SUCCESS_POLICY, message, "add it to the workflow's tasks"
                )

    def _has(self, value: object) -> bool:
        return is_node(value) and value in self.index

    def _named(self, node: AnyNode) -> str:
        return f"node {self.node_ids[self.index[node]]!r}"


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def parse_workflow_id(workflow_id: object) -> UUID:
    """Read the id that a start is given.

    Raises:
        WorkflowValidationError: HRS-032, it is not a UUID.
    """
    try:
        return UUID(str(workflow_id))
    except ValueError:
        raise WorkflowValidationError(
            ErrorCode.WORKFLOW_INVALID_ID,
            f"the workflow_id {show_value(workflow_id)} is not a UUID",
            location=caller_location(),
            help_text="pass str(uuid.uuid4()), or leave it out",
        ) from None
