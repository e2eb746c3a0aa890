"""`WorkflowDefinition`: a workflow as a class, which can be built any number of times and used in other workflows.

Python executes a ``class Ingest(WorkflowDefinition[int])`` in these steps:

1. ``_DefinitionType.__prepare__`` makes the namespace of the class body, a `_Body`.
2. The class body runs. `_Body` exports each node that it defines to the globals of the module, so that ``Meta`` can
   refer to the nodes by name.
3. ``Meta`` is defined. `_Body` then removes the exported names from the module.
4. ``_DefinitionType.__new__`` removes the exported names, if there was no ``Meta``, and makes the class.
5. ``WorkflowDefinition.__init_subclass__`` copies the nodes (`_collect_nodes`), wraps an own ``build_with``
   (`_building`), and registers the definition by its key (`_register`).

A build of the workflow (`_make_spec`) then reads the copies and ``Meta``.
"""

import copy
import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, wraps
from typing import Any, ClassVar, Generic, TypeVar, cast, get_args, get_origin
from weakref import WeakSet

from horsies.codec.fits import fits
from horsies.codec.problems import show_type, show_value
from horsies.codec.signature import SignatureCodec, Variadics
from horsies.codes import OnError
from horsies.errors import (
    ErrorCode,
    HorsiesError,
    SourceLocation,
    WorkflowValidationError,
    caller_location,
    raise_all,
    report,
)
from horsies.suggestions import suggest
from horsies.tasks.discovery import are_retyped, warn_of_redefinition
from horsies.workflows.nodes import AnyNode, SubWorkflowNode, T_co, is_map, is_node, listed, note_indexes
from horsies.workflows.spec import BUILDING, PartialSpec, SuccessCase, SuccessPolicy, WorkflowSpec

_META_OPTIONS = ("on_error", "output", "success_policy")

_definitions: dict[str, "AnyDefinition"] = {}


def definitions() -> Mapping[str, "AnyDefinition"]:
    """Return all definitions that are imported so far, by their keys."""
    return types.MappingProxyType(_definitions)


_exported_nodes: WeakSet[AnyNode] = WeakSet()
"""All nodes that were exported to a module. After a class body that raised, some may still be in the module."""


class _Body(dict[str, Any]):
    """The namespace of a definition's class body.

    Python hides the names of a class body from classes nested in it, but the nested `Meta` must refer to nodes. So the
    nodes are exported temporarily to the globals of the module, until `Meta` is defined. A name that the module itself
    uses is not replaced.
    """

    def __init__(self, module: dict[str, Any]) -> None:
        self._module = module
        self._exported: set[str] = set()

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(name, value)
        existing = self._module.get(name)
        if is_node(value) and (name not in self._module or (is_node(existing) and existing in _exported_nodes)):
            self._module[name] = value
            self._exported.add(name)
            _exported_nodes.add(value)
        if name == "Meta":
            self.remove_exported()

    def remove_exported(self) -> None:
        """Remove the exported nodes from the module."""
        while self._exported:
            self._module.pop(self._exported.pop(), None)


class _DefinitionType(type):
    @classmethod
    def __prepare__(mcs, name: str, bases: tuple[type, ...], /, **_: Any) -> _Body:  # noqa: N804
        here = inspect.currentframe()
        return _Body(here.f_back.f_globals if here is not None and here.f_back is not None else {})

    def __new__(mcs, name: str, bases: tuple[type, ...], body: dict[str, Any], **kwargs: Any) -> "_DefinitionType":
        if isinstance(body, _Body):  # not if the class is made by calling the metaclass
            body.remove_exported()
        return super().__new__(mcs, name, bases, dict(body), **kwargs)


class WorkflowDefinition(Generic[T_co], metaclass=_DefinitionType):  # noqa: UP046 - its variance is declared
    """A workflow with an output of type ``T``. The attributes of a subclass are its nodes; their names become node ids.

    Attributes:
        name: The name of the workflow, for people.
        definition_key: A unique key, which must stay the same as long as runs of the workflow exist.
        Meta: An optional nested class with ``output``, ``on_error`` and ``success_policy``, as in `WorkflowSpec`. It
            refers to nodes directly, or by the names of their attributes as strings, which type checkers accept.
    """

    name: ClassVar[str] = ""
    definition_key: ClassVar[str]
    location: ClassVar[SourceLocation | None] = None
    _nodes: ClassVar[dict[str, AnyNode]] = {}
    _copies: ClassVar[dict[AnyNode, AnyNode]] = {}
    _contained: ClassVar[set["AnyDefinition"]] = set()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Collect the nodes, and register the definition.

        Raises:
            WorkflowValidationError: HRS-003: A node has a reserved name. HRS-017: Another definition has the same key.
        """
        super().__init_subclass__(**kwargs)
        taken = [name for name, value in vars(cls).items() if is_node(value) and hasattr(WorkflowDefinition, name)]
        cls.location = caller_location()
        if taken:
            message = f"{cls.__name__} has a node in the attribute {taken[0]!r}, which is reserved in definitions"
            help_text = f"rename the attribute, and set node_id={taken[0]!r} to keep the id"
            raise cls.problem(ErrorCode.WORKFLOW_INVALID_NODE_ID, message, help_text)
        cls._contained = set()
        cls._collect_nodes()
        own = vars(cls).get("build_with")
        if isinstance(own, classmethod):
            type.__setattr__(cls, "build_with", classmethod(_building(cast("Any", own).__func__)))
        if not cls.has_own_build_with():
            note_indexes(cls.nodes())
        if cls.can_be_built():
            cls._register()

    @classmethod
    def can_be_built(cls) -> bool:
        """Whether it has nodes or overrides ``build_with``; otherwise it is an abstract base class."""
        return bool(cls._nodes) or cls.has_own_build_with()

    @classmethod
    def has_own_build_with(cls) -> bool:
        """Whether it, or one of its bases, overrides `build_with`."""
        return hasattr(cls.build_with, "__wrapped__")

    @classmethod
    def nodes(cls) -> list[AnyNode]:
        """Return the nodes that are its attributes, in the order of their definition."""
        return list(cls._nodes.values())

    @classmethod
    def build(cls, app: Any) -> WorkflowSpec[T_co]:
        """Build the workflow for an app.

        Raises:
            WorkflowValidationError: The workflow is invalid. Several problems are raised together as
                `MultipleValidationErrors`.
        """
        return cls._make_spec(app, WorkflowSpec[T_co])

    @classmethod
    def partial_spec(cls, app: Any) -> PartialSpec[T_co]:
        """Return the part of the workflow that the class itself defines, without the additions of its `build_with`.

        Raises:
            WorkflowValidationError: The workflow is invalid. Several problems are raised together as
                `MultipleValidationErrors`.
        """
        return cls._make_spec(app, PartialSpec[T_co])

    @classmethod
    def _make_spec[S: WorkflowSpec[Any]](cls, app: Any, kind: type[S]) -> S:
        meta = getattr(cls, "Meta", None)
        output = cls._resolve_node(getattr(meta, "output", None))
        may_be_checked = output in cls._nodes.values() or (output is None and kind.is_whole)
        problems = [*cls._unknown_options(meta), *(cls.check_output(output) if may_be_checked else ())]
        token = BUILDING.set(cls)
        try:
            spec = kind(
                cls.name,
                cls.nodes(),
                output=output,
                on_error=getattr(meta, "on_error", OnError.FAIL),
                success_policy=cls._policy(getattr(meta, "success_policy", None)),
                app=app,
                location=cls.location,
            )
        except HorsiesError as error:
            raise_all([error, *problems])
            raise
        finally:
            BUILDING.reset(token)
        report(problems)
        return spec

    @classmethod
    def _unknown_options(cls, meta: object) -> list[HorsiesError]:
        """Return errors for unknown names in `Meta`, which would otherwise be ignored."""
        unknown = [name for name in dir(meta) if not name.startswith("_") and name not in _META_OPTIONS]
        problems: list[HorsiesError] = []
        for name in unknown if meta is not None else ():
            message = f"{cls.__name__}.Meta has {name!r}, which is not an option of a workflow"
            help_text = suggest(name, _META_OPTIONS) or f"the options are {', '.join(_META_OPTIONS)}"
            problems.append(cls.problem(ErrorCode.TASK_INVALID_OPTIONS, message, help_text))
        return problems

    @classmethod
    def build_with(cls, app: Any, *args: Any, **params: Any) -> WorkflowSpec[T_co]:
        """Build the workflow with parameters. Override it, and return a spec from ``app.workflow(…)``.

        Raises:
            WorkflowValidationError: HRS-022: It received parameters but is not overridden.
        """
        if args or params:
            message = f"{cls.__name__} received parameters, but does not override build_with to take them"
            help_text = f"define build_with(cls, app, {', '.join(params) or '…'}) in {cls.__name__}"
            raise cls.problem(ErrorCode.WORKFLOW_SUBWORKFLOW_PARAMS_REQUIRE_BUILD_WITH, message, help_text)
        return cls.build(app)

    @classmethod
    def signature(cls) -> SignatureCodec | None:
        """Return the parameters of an overridden ``build_with``, without the app; None if it is not overridden.

        ``**kwargs`` takes arguments of any other name.

        Raises:
            TaskDefinitionError: HRS-105: A parameter has a type that cannot be represented as JSON.
        """
        wrapped = getattr(cls.build_with, "__wrapped__", None)
        return None if wrapped is None else _signature(wrapped)

    @classmethod
    def output_type(cls) -> Any:
        """Return the type ``T`` of its output; `Any` if it does not declare one."""
        for base in (base for each in cls.__mro__ for base in types.get_original_bases(each)):
            if get_origin(base) is WorkflowDefinition:
                [found] = get_args(base)
                return Any if isinstance(found, TypeVar) else found
        return Any

    @classmethod
    def contents(cls) -> list["AnyDefinition"]:
        """Return the definitions of its sub-workflow nodes, as far as they are known before it is built."""
        cls.note_contents(cls.nodes())
        return sorted(cls._contained, key=lambda each: each.definition_key)

    @classmethod
    def note_contents(cls, nodes: Sequence[AnyNode]) -> None:
        """Record the definitions of the sub-workflow nodes in a spec of this definition."""
        cls._contained |= {node.workflow_def for node in nodes if isinstance(node, SubWorkflowNode)}

    @classmethod
    def check_output(cls, output: AnyNode | None) -> list[HorsiesError]:
        """Return an HRS-025 error if the type of the output is not the type that the definition declares."""
        wanted = cls.output_type()
        if wanted in (Any, None, types.NoneType) or (output is not None and fits(_result_type(output), wanted)):
            return []
        what = "it has no output" if output is None else f"{output!r} returns {show_type(_result_type(output))}"
        message = f"{cls.__name__} is a WorkflowDefinition[{show_type(wanted)}], but {what}"
        fix = f"WorkflowDefinition[{'None' if output is None else show_type(_result_type(output))}]"
        help_text = f"set an output node of that type in Meta, or derive {cls.__name__} from {fix}"
        return [cls.problem(ErrorCode.WORKFLOW_OUTPUT_TYPE_MISMATCH, message, help_text)]

    @classmethod
    def problem(cls, code: ErrorCode, message: str, help_text: str, *notes: str) -> WorkflowValidationError:
        """Make an error with the location of the definition."""
        return WorkflowValidationError(code, message, location=cls.location, notes=notes, help_text=help_text)

    @classmethod
    def _collect_nodes(cls) -> None:
        """Copy the nodes in the attributes, and make the copies refer to each other.

        A copy without ``node_id`` gets the name of its attribute. The original nodes stay unchanged, because other
        workflows may use them.
        """
        attributes = {name: value for each in reversed(cls.__mro__) for name, value in vars(each).items()}
        nodes = {name: value for name, value in attributes.items() if is_node(value)}
        cls._copies = dict(cls._copies)
        for name, node in nodes.items():
            if node not in cls._copies:
                cls._copies[node] = copy.copy(node)
                _set_frozen_fields(cls._copies[node], node_id=name if node.node_id is None else node.node_id)
        cls._nodes = {name: cls._copies[node] for name, node in nodes.items()}
        for name, node in cls._nodes.items():
            _set_frozen_fields(
                node,
                waits_for=cls._resolve_nodes(node.waits_for),
                args_from={k: cls._resolve_node(v) for k, v in node.args_from.items()},
            )
            if node.workflow_ctx_from is not None:
                _set_frozen_fields(node, workflow_ctx_from=cls._resolve_nodes(node.workflow_ctx_from))
            if is_map(node):
                _set_frozen_fields(node, over=cls._resolve_node(node.over))
            type.__setattr__(cls, name, node)

    @classmethod
    def _resolve_node(cls, node: Any) -> Any:
        """Return this class's copy of a node, which is given itself or by the name of its attribute.

        Other values are returned unchanged; the validation of the workflow reports them.
        """
        found = cls._nodes.get(node, node) if isinstance(node, str) else node
        while is_node(found) and found in cls._copies:  # a subclass copies the copies of its base
            found = cls._copies[found]
        return found

    @classmethod
    def _resolve_nodes(cls, nodes: Any) -> Any:
        return (
            [cls._resolve_node(node) for node in listed(cast("Any", nodes))]
            if isinstance(nodes, list | tuple)
            else nodes
        )

    @classmethod
    def _policy(cls, policy: SuccessPolicy | None) -> SuccessPolicy | None:
        if policy is None:
            return None
        return SuccessPolicy(
            [SuccessCase(cls._resolve_nodes(case.required)) for case in policy.cases],
            cls._resolve_nodes(policy.optional),
        )

    @classmethod
    def _register(cls) -> None:
        key = getattr(cls, "definition_key", None)
        if not isinstance(key, str) or not key:
            return  # building the workflow reports the missing key: HRS-016
        known = _definitions.get(key)
        if known is not None and are_retyped(known, cls):
            warn_of_redefinition(f"the workflow definition {key!r}")
        elif known is not None and (known.location, known.__qualname__) != (cls.location, cls.__qualname__):
            message = f"two definitions have the key {key!r}: {known.__name__} and {cls.__name__}"
            help_text, note = (
                f"give {cls.__name__} a unique definition_key",
                f"the other definition is at {known.location}",
            )
            report([cls.problem(ErrorCode.WORKFLOW_DUPLICATE_DEFINITION_KEY, message, help_text, note)])
        _definitions[key] = cls


type AnyDefinition = type[WorkflowDefinition[Any]]
"""A definition with any output type."""


def _set_frozen_fields(node: AnyNode, **values: object) -> None:
    """Change the fields of a new copy of a frozen node."""
    for name, value in values.items():
        object.__setattr__(node, name, value)


@lru_cache(maxsize=1024)
def _signature(build_with: Callable[..., Any]) -> SignatureCodec:
    return SignatureCodec(build_with, skip=2, variadics=Variadics.ACCEPTED)


def _result_type(node: AnyNode) -> Any:
    return node.result_codec().ok_type


def _building(function: Callable[..., WorkflowSpec[Any]]) -> Callable[..., WorkflowSpec[Any]]:
    """Wrap a ``build_with`` so that its specs inherit the key of the definition, and its return value is checked."""

    @wraps(function)
    def build_with(cls: "AnyDefinition", app: Any, *args: Any, **params: Any) -> WorkflowSpec[Any]:
        token = BUILDING.set(cls)
        try:
            spec = function(cls, app, *args, **params)
        finally:
            BUILDING.reset(token)
        if not isinstance(cast("object", spec), WorkflowSpec):
            message = f"{cls.__name__}.build_with() returned {show_value(spec)}, which is not a WorkflowSpec"
            raise cls.problem(ErrorCode.WORKFLOW_CHECK_BUILDER_EXCEPTION, message, "return app.workflow(…)")
        report(cls.check_output(spec.output))
        return spec

    return build_with
