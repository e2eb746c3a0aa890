"""Validation of one node of a workflow: its dependencies, arguments, types, queue and options.

The same pass computes what the compilation needs: it encodes the arguments, resolves the queue and the priority, and
finds the parameter that receives the item of a map. So each argument is encoded once, and an argument that cannot be
encoded is reported like any other error.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from inspect import Parameter
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from horsies.codec.adapters import CodecError
from horsies.codec.fits import fits, item_type
from horsies.codec.problems import show_type, show_value
from horsies.codec.signature import SignatureCodec, key_of_values
from horsies.codec.text import decode_json
from horsies.codec.wire import ResultCodec, encode_json
from horsies.config.queues import LAST_PRIORITY
from horsies.errors import ErrorCode, HorsiesError, TaskDefinitionError, WorkflowValidationError
from horsies.producer.keys import checked_key
from horsies.suggestions import suggest
from horsies.tasks.registry import LARGEST_NUMBER, SHORTEST_TIMEOUT_MS, STAND_IN, TaskDefinition
from horsies.workflows.nodes import (
    CONTEXT_PARAMETER,
    FILLED_IN,
    AnyNode,
    MapNode,
    Node,
    Source,
    SubWorkflowNode,
    is_map,
    is_node,
    listed,
)
from horsies.workflows.validation.cycles import find_cycle

if TYPE_CHECKING:
    from horsies.workflows.spec import WorkflowSpec


@dataclass(frozen=True, slots=True)
class PlannedNode:
    """The values of a node that validation computed, for the compilation of the workflow.

    Attributes:
        node_id: The id of the node.
        args: The encoded arguments, a JSON object by parameter name.
        queue: The queue of its task.
        priority: The priority of its task.
        item_parameter: The parameter of a map node that gets the item; None for other nodes.
        key: The key of its task; None: it has none, or each item of a map has its own.
        key_by: By which parameters the items of a map get their keys, with the defaults, as a JSON value; None: all
            have the same key.
    """

    node_id: str
    args: bytes
    queue: str
    priority: int
    item_parameter: str | None
    key: str | None = None
    key_by: Mapping[str, Any] | None = None


class Found(NamedTuple):
    """One error that a validator found.

    Attributes:
        code: The code of the error.
        message: The message. An error of `NodeValidation` omits the name of the node, which is put before it.
        help_text: How to fix the error.
        node: The node whose line is shown; None for the line of the spec. `NodeValidation` leaves it None, because
            all its errors belong to the same node.
        notes: Further lines.
    """

    code: ErrorCode
    message: str
    help_text: str
    node: AnyNode | None = None
    notes: tuple[str, ...] = ()


class NodeValidation:
    """Validates one node of a spec, and computes the values that its compilation needs.

    The generators below yield errors. Some also store a computed value: `_encode` an argument,
    `_resolve_queue_and_priority` the queue and the priority, `_item_parameter` the name of a parameter. Only `validate`
    runs the generators, to their end.

    Args:
        spec: The spec.
        node: The node.
        ids: The ids of all nodes of the spec.
    """

    def __init__(self, spec: "WorkflowSpec[Any]", node: AnyNode, ids: Mapping[AnyNode, str]) -> None:
        self._spec = spec
        self._node = node
        self._ids = ids
        self._args: dict[str, bytes] = {}
        self._key: str | None = None
        self._key_by: Mapping[str, Any] | None = None
        self._queue = ""
        self._priority = LAST_PRIORITY
        self._item: str | None = None

    def validate(self) -> tuple[PlannedNode, list[HorsiesError]]:
        """Return the computed values of the node, and all its errors. The values are complete if there is no error."""
        name = f"node {self._ids[self._node]!r}"
        errors: list[HorsiesError] = [
            WorkflowValidationError(
                found.code,
                f"{name} {found.message}",
                location=self._node.location,
                notes=found.notes,
                help_text=found.help_text,
            )
            for found in self._found()
        ]
        args = b"{" + b",".join(encode_json(name) + b":" + value for name, value in self._args.items()) + b"}"
        ids, place = self._ids[self._node], (self._queue, self._priority)
        planned = PlannedNode(ids, args, *place, self._item, self._key, self._key_by)
        return planned, errors

    def _found(self) -> Iterator[Found]:
        node = self._node
        yield from self._dependencies()
        yield from self._join()
        yield from self._options()
        if isinstance(node, SubWorkflowNode):
            yield from self._sub_workflow(node)
            return
        task = getattr(cast("Any", node).fn, "definition", None)
        if isinstance(task, TaskDefinition):
            yield from self._resolve_queue_and_priority(task)
            if task is not STAND_IN:  # the errors of the task itself were already reported
                yield from self._parameters(task.signature, f"{task.signature.name}()")
                yield from self._find_key(task)
        else:
            message = f"runs {show_value(cast('Any', node).fn)}, which is not a task"
            yield Found(ErrorCode.TASK_NOT_REGISTERED, message, "decorate the function with @app.task(…)")

    def _find_key(self, task: TaskDefinition) -> Iterator[Found]:
        """Store the key that the arguments of the node make. Results of other nodes make no key."""
        by = task.key_by
        if by is None:
            return
        names = (by,) if isinstance(by, str) else by
        if any(name in self._node.args_from for name in names):
            return
        if self._item in names:
            self._key_by = {"by": by, "defaults": decode_json(task.signature.encode_defaults())}
            return
        signature = task.signature
        if not all(name in self._args or signature.parameters[name].default is not Parameter.empty for name in names):
            return  # an argument is missing or wrong, which was reported
        values = [
            self._args.get(name) or signature.encode_argument(name, signature.parameters[name].default)
            for name in names
        ]
        try:
            self._key = checked_key(task, key_of_values(values, is_single=isinstance(by, str)))
        except CodecError as error:
            yield Found(ErrorCode.WORKFLOW_KWARGS_NOT_SERIALIZABLE, f"has no valid key: {error}", "use a short key")

    def _dependencies(self) -> Iterator[Found]:
        node = self._node
        before = {id(each) for each in listed(node.waits_for)}
        sources = [(ErrorCode.WORKFLOW_INVALID_ARGS_FROM, f"takes {k!r} from", v) for k, v in node.args_from.items()]
        context = listed(node.workflow_ctx_from or ())
        sources += [(ErrorCode.WORKFLOW_INVALID_CTX_FROM, "has in workflow_ctx_from", each) for each in context]
        for code, how, source in sources:
            if id(source) not in before and is_node(source):
                yield Found(code, f"{how} {self._named(source)}, which is not in its waits_for", "add it to waits_for")
            elif id(source) not in before:
                yield Found(code, f"{how} {show_value(source)}, which is not a node", "pass a node")
        if is_map(node) and not is_node(node.over):
            message, help_text = f"runs over {show_value(node.over)}, which is not a node", "pass over=from_node(node)"
            yield Found(ErrorCode.WORKFLOW_INVALID_ARGS_FROM, message, help_text)

    def _join(self) -> Iterator[Found]:
        node, count = self._node, len(listed(self._node.waits_for))
        code, join, needed = ErrorCode.WORKFLOW_INVALID_JOIN, node.join, node.min_success
        if join not in {"all", "any", "quorum"}:
            yield Found(code, f"has the invalid join {show_value(join)}", 'use "all", "any" or "quorum"')
        elif join != "all" and not count:
            help_text = "remove join, or add dependencies to waits_for"
            yield Found(code, f"has join={join!r} but no dependencies", help_text)
        elif join == "quorum" and (type(needed) is not int or not 1 <= needed <= count):
            message = f'has join="quorum" and the invalid min_success {show_value(needed)}'
            yield Found(code, message, f"set min_success to a number from 1 to {count}, the number of its dependencies")
        elif join != "quorum" and needed is not None:
            message = f'has min_success={needed!r}, which requires join="quorum"'
            yield Found(code, message, 'use join="quorum", or remove min_success')
        if join != "all" and is_map(node):
            message = f"runs over a list, but join={join!r} may start it before the list is available"
            yield Found(code, message, "remove join")

    def _options(self) -> Iterator[Found]:
        node, code = self._node, ErrorCode.TASK_INVALID_OPTIONS
        until = node.good_until
        if until is not None and (not isinstance(cast("object", until), datetime) or until.utcoffset() is None):
            message = f"has the good_until {show_value(until)}, which is not an aware datetime"
            yield Found(code, message, "pass a datetime with a tzinfo, for example datetime.now(UTC)")
        limits = [("timeout_ms", node.timeout_ms, SHORTEST_TIMEOUT_MS)]
        if is_map(node):
            limits.append(("max_parallel", node.max_parallel, 1))
        for name, value, least in limits:
            if value is not None and (type(value) is not int or not least <= value <= LARGEST_NUMBER):
                help_text = f"use a whole number from {least} to {LARGEST_NUMBER:,}"
                yield Found(code, f"has the invalid {name} {show_value(value)}", help_text)

    def _resolve_queue_and_priority(self, task: TaskDefinition | None) -> Iterator[Found]:
        """Store the queue and the priority of the node, and yield the errors in them."""
        node, app = self._node, self._spec.app
        priorities = (cast("Any", node).fn if app is None else app).producer.queue_priorities
        default = next(iter(priorities)) if task is None else task.queue_name
        self._queue = default if node.queue is None else node.queue
        if self._queue not in priorities:
            message = f"uses the queue {self._queue!r}, which its app does not have"
            yield Found(
                ErrorCode.WORKFLOW_UNRESOLVED_QUEUE, message, f"the queues of the app are {', '.join(priorities)}"
            )
        priority = priorities.get(self._queue, LAST_PRIORITY) if node.priority is None else node.priority
        if type(priority) is not int or not 1 <= priority <= LAST_PRIORITY:
            message = f"has the invalid priority {show_value(priority)}"
            help_text = f"use a whole number from 1 (highest) to {LAST_PRIORITY}, or omit it to use the queue's"
            yield Found(ErrorCode.WORKFLOW_UNRESOLVED_PRIORITY, message, help_text)
        self._priority = priority

    def _sub_workflow(self, node: SubWorkflowNode[Any]) -> Iterator[Found]:
        definition = node.workflow_def
        if self._spec.app is None:
            message = f"is a sub-workflow, but workflow {self._spec.name!r} belongs to no app"
            help_text = "make the workflow with app.workflow(…), or pass app="
            yield Found(ErrorCode.WORKFLOW_SUBWORKFLOW_APP_MISSING, message, help_text)
        else:
            yield from self._resolve_queue_and_priority(None)
        if not isinstance(getattr(definition, "definition_key", None), str):
            message = f"runs {show_value(definition)}, which has no definition_key"
            help_text = "pass a subclass of WorkflowDefinition that has a definition_key"
            yield Found(ErrorCode.WORKFLOW_NO_DEFINITION_KEY, message, help_text)
            return
        name = definition.__name__
        if cycle := find_cycle([definition], lambda each: each.contents()):
            message = f"runs {name}, which contains itself: {' -> '.join(each.__name__ for each in cycle)}"
            help_text = "remove one of these sub-workflows: a workflow cannot contain itself, directly or indirectly"
            yield Found(ErrorCode.WORKFLOW_CYCLE_DETECTED, message, help_text)
        try:
            signature = node.signature()
        except TaskDefinitionError as error:
            message = f"runs {name}, whose build_with() has a parameter that cannot be represented as JSON"
            code = ErrorCode.WORKFLOW_SUBWORKFLOW_BUILD_WITH_BINDING
            yield Found(code, message, error.help_text or "", notes=(error.message,))
            return
        bound = [*node.kwargs, *node.args_from]
        if signature is not None:
            yield from self._parameters(signature, f"{name}.build_with()")
            return
        yield from self._context((), f"{name}.build_with()")
        if bound:
            message = f"passes {', '.join(map(repr, bound))} to {name}, which takes no parameters"
            help_text = f"define build_with(cls, app, {', '.join(bound)}) in {name}"
            yield Found(ErrorCode.WORKFLOW_SUBWORKFLOW_PARAMS_REQUIRE_BUILD_WITH, message, help_text)

    def _parameters(self, signature: SignatureCodec, callee: str) -> Iterator[Found]:
        node = self._node
        yield from self._binding(signature, callee)
        yield from self._context(signature.parameters, callee)
        for name in node.kwargs:
            is_bound_here = name not in node.args_from and name not in FILLED_IN
            if is_bound_here and signature.parameter(name) is not None:
                yield from self._encode(signature, name, callee)
        for name, source in node.args_from.items():
            codec = self._result_codec(source)
            if signature.parameter(name) is not None and codec is not None:
                yield from self._check_source_type(signature, name, codec, f"{name!r} of {callee}")

    def _context(self, parameters: Collection[str], callee: str) -> Iterator[Found]:
        if self._node.workflow_ctx_from is not None and CONTEXT_PARAMETER not in parameters:
            message = f"has workflow_ctx_from, but {callee} has no parameter {CONTEXT_PARAMETER!r}"
            help_text = f"declare {CONTEXT_PARAMETER}: WorkflowContext | None = None"
            yield Found(ErrorCode.WORKFLOW_CTX_PARAM_MISSING, message, help_text)

    def _binding(self, signature: SignatureCodec, callee: str) -> Iterator[Found]:
        node = self._node
        unknown = missing = ErrorCode.WORKFLOW_SUBWORKFLOW_BUILD_WITH_BINDING
        if node.task is not None:
            unknown, missing = ErrorCode.WORKFLOW_INVALID_KWARG_KEY, ErrorCode.WORKFLOW_MISSING_REQUIRED_PARAMS
        for name in (*node.kwargs, *node.args_from):
            if name in FILLED_IN:
                yield Found(unknown, f"binds {name!r}, which the worker fills in", f"remove {name!r}")
            elif signature.parameter(name) is None:
                takes = (
                    f"its parameters are {', '.join(signature.parameters)}" if signature.parameters else "it has none"
                )
                message = f"binds {name!r}, but {callee} has no such parameter"
                yield Found(unknown, message, suggest(str(name), signature.parameters) or takes)
        for name in node.kwargs.keys() & node.args_from.keys():
            message = f"binds {name!r} twice, in kwargs and in args_from"
            yield Found(ErrorCode.WORKFLOW_KWARGS_ARGS_FROM_OVERLAP, message, "remove one of them")
        if surplus := cast("Sequence[object]", getattr(node, "args", ())):
            message = f"has positional arguments: {', '.join(map(show_value, surplus))}"
            help_text = "bind them by name in kwargs, or use task.node()(…)"
            yield Found(ErrorCode.WORKFLOW_POSITIONAL_ARGS_NOT_SUPPORTED, message, help_text)
            return
        free = signature.required - node.kwargs.keys() - node.args_from.keys() - FILLED_IN
        left = [name for name in signature.parameters if name in free]
        if is_map(node):
            yield from self._item_parameter(node, signature, left, callee)
        elif left and self._spec.is_whole:
            message = f"leaves {', '.join(map(repr, left))} of {callee} without an argument"
            yield Found(missing, message, "bind each parameter in kwargs or args_from, or declare a default")

    def _item_parameter(
        self, node: MapNode[Any], signature: SignatureCodec, left: Sequence[str], callee: str
    ) -> Iterator[Found]:
        """Store the only unbound parameter of a map node, and check that it accepts the items."""
        if len(left) != 1:
            unbound = ", ".join(map(repr, left)) or "no parameter"
            message = f"leaves {unbound} of {callee} unbound, but exactly one parameter must receive the item"
            help_text = "bind all parameters without a default except one: the unbound parameter gets the item"
            yield Found(ErrorCode.WORKFLOW_MISSING_REQUIRED_PARAMS, message, help_text)
            return
        self._item = left[0]
        codec, wanted = self._result_codec(node.over), signature.parameters[self._item].annotation
        item = item_type(Any if codec is None else codec.ok_type)
        if codec is None or (item is not None and fits(item, wanted)):
            return
        message = f"runs over {show_type(codec.ok_type)}, "
        if item is None:
            message += f"which is not a list, but {self._item!r} of {callee} needs the items of a list"
            help_text = f"make the preceding node return a list[{show_type(wanted)}]"
        else:
            message += f"but the item {self._item!r} of {callee} is {show_type(wanted)}"
            help_text = f"make the types match: {self._item}: {show_type(item)}"
        yield Found(ErrorCode.WORKFLOW_ARGS_FROM_TYPE_MISMATCH, message, help_text)

    def _encode(self, signature: SignatureCodec, name: str, callee: str) -> Iterator[Found]:
        """Validate an argument, and also encode it for the compilation."""
        value = self._node.kwargs[name]
        try:
            self._args[name] = signature.encode_argument(name, value)
        except CodecError as error:
            is_source = isinstance(value, Source | Node)
            help_text = f"use args_from={{{name!r}: node}}" if is_source else "pass data of the declared type"
            message = f"cannot pass its argument to {callee}: {error}"
            yield Found(ErrorCode.WORKFLOW_KWARGS_NOT_SERIALIZABLE, message, help_text)

    def _check_source_type(
        self, signature: SignatureCodec, name: str, codec: ResultCodec, which: str
    ) -> Iterator[Found]:
        parameter = cast("Parameter", signature.parameter(name))
        source, join = self._named(self._node.args_from[name]), self._node.join
        if not _fits(codec, signature, name):
            given, wanted = show_type(codec.annotation), show_type(parameter.annotation)
            message = f"gets {given} from {source}, but the parameter {which} is {wanted}"
            yield Found(ErrorCode.WORKFLOW_ARGS_FROM_TYPE_MISMATCH, message, f"declare {name}: {given}")
        if join in {"any", "quorum"} and parameter.default is Parameter.empty:
            message = (
                f"has join={join!r}, so {source} may still run when it starts, but the parameter {which} has no default"
            )
            yield Found(ErrorCode.WORKFLOW_INVALID_JOIN, message, f"declare {name}: … | None = None")

    def _named(self, node: AnyNode) -> str:
        return f"node {self._ids[node]!r}" if node in self._ids else repr(node)

    def _result_codec(self, node: object) -> ResultCodec | None:
        """Return the result codec of a node; None if the node is invalid or belongs to another workflow."""
        if not is_node(node) or node not in self._ids:
            return None
        runs = getattr(getattr(node, "fn", None), "definition", getattr(node, "workflow_def", None))
        return node.result_codec() if hasattr(runs, "location") else None


@lru_cache(maxsize=4096)
def _fits(codec: ResultCodec, signature: SignatureCodec, name: str) -> bool:
    """Whether a result may be passed to a parameter. Cached, because many nodes share the same types."""
    parameter = signature.parameter(name)
    return parameter is None or fits(codec.annotation, parameter.annotation)
