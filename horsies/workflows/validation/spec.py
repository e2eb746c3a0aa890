"""Validation of a whole workflow, which reports all errors at once: HRS-001 to HRS-026 and HRS-031."""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from uuid import UUID

from horsies.codec.problems import show_value
from horsies.codes import OnError
from horsies.errors import ErrorCode, HorsiesError, WorkflowValidationError, caller_location
from horsies.workflows.nodes import AnyNode, is_node, listed
from horsies.workflows.validation.cycles import find_cycle
from horsies.workflows.validation.nodes import Found, NodeValidation, PlannedNode

if TYPE_CHECKING:
    from horsies.workflows.spec import WorkflowSpec

_NODE_ID = re.compile(r"[A-Za-z0-9_\-:.]{1,128}")
_NOT_IN_IDS = re.compile(r"[^A-Za-z0-9_\-:.]+")
_SHOWN_OF_CYCLE = 12
_LONGEST_SLUG = 100
_FIXABLE_BY_ADDITION = (
    ErrorCode.WORKFLOW_NO_NAME,
    ErrorCode.WORKFLOW_DUPLICATE_NODE_ID,  # build_with may choose one of the two nodes
    ErrorCode.WORKFLOW_NO_ROOT_TASKS,
    ErrorCode.WORKFLOW_INVALID_JOIN,
    ErrorCode.WORKFLOW_MISSING_REQUIRED_PARAMS,
    ErrorCode.WORKFLOW_KWARGS_NOT_SERIALIZABLE,  # the value may be a placeholder for a parameter
)
"""Errors that an addition to the spec may fix. They are not reported for a partial spec."""


def slugify(text: str) -> str:
    """Turn text into a valid part of a node id: ``"Hello World!"`` becomes ``"Hello_World"``."""
    return _NOT_IN_IDS.sub("_", text).strip("_")


class Validation:
    """Validates one spec.

    Attributes:
        index: The index of each node.
        node_ids: The ids of the nodes in their order, including the default ids.
        plan: The computed values of each node; empty before `problems` was called.
    """

    def __init__(self, spec: "WorkflowSpec[Any]") -> None:
        self._spec = spec
        self._nodes = [node for node in spec.tasks if is_node(node)]
        self._what = f"workflow {spec.name!r}"
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
        """Return all errors of the spec and its nodes."""
        errors: list[HorsiesError] = []
        for found in (*self._shape(), *self._ids(), *self._graph(), *self._ends()):
            location = self._spec.location if found.node is None else found.node.location
            error = WorkflowValidationError(
                found.code, found.message, location=location, notes=found.notes, help_text=found.help_text
            )
            errors.append(error)
        plan: list[PlannedNode] = []
        ids = {node: self.node_ids[self.index[node]] for node in self._nodes}
        for node in self._nodes:
            planned, errors_of_node = NodeValidation(self._spec, node, ids).validate()
            plan.append(planned)
            errors += errors_of_node
        self.plan = tuple(plan)
        return [error for error in errors if self._spec.is_whole or error.code not in _FIXABLE_BY_ADDITION]

    def _shape(self) -> Iterator[Found]:
        spec, what = self._spec, self._what
        if not _is_text(spec.name):
            yield Found(ErrorCode.WORKFLOW_NO_NAME, "the workflow has no name", 'set a name, such as name="ingest"')
        if not spec.tasks:
            yield Found(ErrorCode.WORKFLOW_NO_NODES, f"{what} has no nodes", "list its nodes: tasks=[…]")
        for place, node in enumerate(spec.tasks):
            if not is_node(node):
                message = f"{what} has {show_value(node)} at index {place}, which is not a node"
                help_text = "make a node from a task: TaskNode(fn=task) or task.node()(…)"
                yield Found(ErrorCode.WORKFLOW_NO_NODES, message, help_text)
        if not _is_text(spec.definition_key):
            stays = "set a key that stays the same as long as runs of the workflow exist"
            help_text = f'{stays}: definition_key="shop.ingest.v1"'
            yield Found(ErrorCode.WORKFLOW_NO_DEFINITION_KEY, f"{what} has no definition_key", help_text)
        if spec.on_error not in list(OnError):
            message, help_text = (
                f"{what} has the invalid on_error {show_value(spec.on_error)}",
                "use OnError.FAIL or OnError.PAUSE",
            )
            yield Found(ErrorCode.WORKFLOW_INVALID_SUCCESS_POLICY, message, help_text)

    def _ids(self) -> Iterator[Found]:
        seen: dict[str, AnyNode] = {}
        for place, (node, node_id) in enumerate(zip(self._spec.tasks, self.node_ids, strict=True)):
            if not is_node(node):
                continue
            if not _is_text(node_id) or not _NODE_ID.fullmatch(node_id):
                message = f"{show_value(node_id)} is not a valid node id"
                help_text = "use 1 to 128 of the characters A-Z a-z 0-9 _ - : ."
                yield Found(ErrorCode.WORKFLOW_INVALID_NODE_ID, message, help_text, node=node)
            other, code = seen.get(node_id), ErrorCode.WORKFLOW_DUPLICATE_NODE_ID
            if self.index[node] != place:
                yield Found(code, f"{self._what} lists {self._named(node)} twice", "list it only once", node=node)
            elif other is not None:
                message, note = (
                    f"two nodes of {self._what} have the id {node_id!r}",
                    f"the other node is at {other.location}",
                )
                yield Found(code, message, "give one of them another node_id", node=node, notes=(note,))
            seen.setdefault(node_id, node)

    def _graph(self) -> Iterator[Found]:
        if self._nodes and all(listed(node.waits_for) for node in self._nodes):
            message = f"every node of {self._what} waits for another node, so no node can start"
            yield Found(ErrorCode.WORKFLOW_NO_ROOT_TASKS, message, "remove the waits_for of at least one node")
        for node in self._nodes:
            for other in listed(node.waits_for):
                if not self._has(other) and (self._spec.is_whole or not is_node(other)):
                    where = f"{other!r}, which is not a node"
                    if is_node(other):
                        where = f"{other!r} (made at {other.location}), which is not one of its nodes"
                    message = f"{self._named(node)} of {self._what} waits for {where}"
                    help_text = "add it to the tasks of the workflow, or remove it from waits_for"
                    yield Found(ErrorCode.WORKFLOW_INVALID_DEPENDENCY, message, help_text, node=node)
        cycle = find_cycle(self._nodes, lambda node: [each for each in listed(node.waits_for) if self._has(each)])
        if cycle:
            names = [self.node_ids[self.index[node]] for node in cycle]
            notes = [f"{name} waits for {after}" for name, after in pairwise(names)]
            hidden = [f"… ({len(notes)} dependencies in total)"] if len(notes) > _SHOWN_OF_CYCLE else []
            shown = names if not hidden else [*names[:_SHOWN_OF_CYCLE], "…", names[-1]]
            message = f"nodes of {self._what} wait for each other: {' -> '.join(shown)}"
            help_text = "remove one of these dependencies"
            note = "\n".join([*notes[:_SHOWN_OF_CYCLE], *hidden])
            yield Found(ErrorCode.WORKFLOW_CYCLE_DETECTED, message, help_text, node=cycle[0], notes=(note,))

    def _ends(self) -> Iterator[Found]:
        spec, what, policy = self._spec, self._what, self._spec.success_policy
        add = "add it to the tasks of the workflow"
        if spec.output is not None and not self._has(spec.output):
            text = 'set output to a node; in a definition, output = "…" with the name of its attribute also works'
            message = f"the output of {what} is {spec.output!r}, which is not one of its nodes"
            yield Found(ErrorCode.WORKFLOW_INVALID_OUTPUT, message, add if is_node(spec.output) else text)
        if policy is None:
            return
        cases = [case.required for case in policy.cases]
        if not cases or not all(cases):
            message = f"the success policy of {what} has no case, or a case without a required node"
            help_text = "use SuccessPolicy(cases=[SuccessCase(required=[node])])"
            yield Found(ErrorCode.WORKFLOW_INVALID_SUCCESS_POLICY, message, help_text)
        for node in (node for group in (*cases, policy.optional) for node in group):
            if not self._has(node):
                message = f"the success policy of {what} names {node!r}, which is not one of its nodes"
                yield Found(ErrorCode.WORKFLOW_INVALID_SUCCESS_POLICY, message, add)

    def _has(self, value: object) -> bool:
        return is_node(value) and value in self.index

    def _named(self, node: AnyNode) -> str:
        return f"node {self.node_ids[self.index[node]]!r}"


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def parse_workflow_id(workflow_id: object) -> UUID:
    """Parse the id that was passed to a start.

    Raises:
        WorkflowValidationError: HRS-032: The id is not a UUID.
    """
    try:
        return UUID(str(workflow_id))
    except ValueError:
        raise WorkflowValidationError(
            ErrorCode.WORKFLOW_INVALID_ID,
            f"the workflow_id {show_value(workflow_id)} is not a UUID",
            location=caller_location(),
            help_text="pass str(uuid.uuid4()), or omit workflow_id to get a new id",
        ) from None
