"""Workflows as classes: their nodes and their keys."""

from collections.abc import Callable
from typing import Any

import pytest

from horsies import (
    OnError,
    SubWorkflowNode,
    SuccessCase,
    SuccessPolicy,
    TaskNode,
    WorkflowDefinition,
    WorkflowSpec,
    WorkflowValidationError,
    from_node,
)
from horsies.workflows.built_in_tasks import inner_tasks
from horsies.workflows.definition import definitions
from horsies.workflows.nodes import BUILD_TASK
from tests.support.flows import add, app, fetch, gather, listing, parse, report, resize

shared = fetch.node()("shared")
lent = "not a node"


class Ingest(WorkflowDefinition[int]):
    name = "ingest"
    definition_key = "test_workflow_definition.ingest"
    page = TaskNode(fn=fetch, kwargs={"url": "x"})
    again = shared
    parsed = TaskNode(fn=parse, waits_for=[page], args_from={"page": page}, node_id="the-number")
    found = listing.node(waits_for=[again])()
    each = resize.map(over=from_node(found))(size=1)
    total = gather.node(waits_for=[parsed])(from_node(each))
    said = report.node(waits_for=[total], workflow_ctx_from=[total])()

    class Meta:
        output = total  # noqa: F821 - exported to the module until Meta is defined
        on_error = OnError.PAUSE
        success_policy = SuccessPolicy([SuccessCase([total])], optional=[said])  # noqa: F821


def test_attributes_give_their_names_to_nodes() -> None:
    assert Ingest.page.node_id == "page"
    assert Ingest.parsed.node_id == "the-number"
    assert Ingest.each.key().node_id == "each"
    spec = Ingest.build(app)
    assert spec.node_ids == ("page", "again", "the-number", "found", "each", "total", "said")
    assert spec.index_of(Ingest.parsed) == 2


def test_references_lead_to_the_nodes_with_names() -> None:
    spec = Ingest.build(app)
    assert spec.output is Ingest.total
    assert Ingest.parsed.waits_for == [Ingest.page]
    assert Ingest.parsed.args_from == {"page": Ingest.page}
    assert (Ingest.each.over, Ingest.each.waits_for) == (Ingest.found, [Ingest.found])
    assert Ingest.said.workflow_ctx_from == [Ingest.total]
    assert spec.success_policy == SuccessPolicy([SuccessCase([Ingest.total])], optional=[Ingest.said])
    assert spec.on_error is OnError.PAUSE


def test_nodes_of_other_workflows_stay_unchanged() -> None:
    assert shared.node_id is None
    assert Ingest.again is not shared
    assert Ingest.again.location == shared.location


def test_nodes_are_exported_to_the_module_only_until_meta_is_defined() -> None:
    assert {"page", "parsed", "total", "said"}.isdisjoint(globals())
    assert lent == "not a node"


def test_a_name_of_the_module_is_not_hidden() -> None:
    class Hidden(WorkflowDefinition[str]):
        name = "hidden"
        definition_key = "test_workflow_definition.hidden"
        lent = fetch.node()("x")

        class Meta:
            output: Any = lent

    with pytest.raises(WorkflowValidationError, match="the output of workflow 'hidden' is 'not a node'"):
        Hidden.build(app)


def test_nodes_may_be_named_as_text() -> None:
    class Text(WorkflowDefinition[str]):
        name = "text"
        definition_key = "test_workflow_definition.text"
        lent = fetch.node()("x")

        class Meta:
            output = "lent"
            on_error = "pause"

    spec = Text.build(app)
    assert (spec.output, spec.on_error) == (Text.lent, "pause")


def test_a_class_may_be_defined_again_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError):

        class Broken(WorkflowDefinition[str]):
            left = fetch.node()("x")
            never = 1 / 0

    class Fixed(WorkflowDefinition[str]):
        name = "fixed"
        definition_key = "test_workflow_definition.fixed"
        left = fetch.node()("x")

        class Meta:
            output: Any = left  # noqa: F821

    assert Fixed.build(app).output is Fixed.left


def test_a_subclass_has_separate_nodes() -> None:
    class Longer(Ingest):
        definition_key = "test_workflow_definition.longer"
        last = add.node()(from_node(Ingest.parsed))

    spec = Longer.build(app)
    assert spec.node_ids == (*Ingest.build(app).node_ids, "last")
    assert spec.output is Longer.total
    assert Longer.last.args_from == {"one": Longer.parsed}
    assert Longer.parsed is not Ingest.parsed
    assert spec.index_of(Ingest.parsed) == spec.index_of(Longer.parsed)


@pytest.mark.parametrize("name", ["location", "nodes", "name", "build"])
def test_a_node_does_not_take_a_name_that_definitions_use(name: str) -> None:
    with pytest.raises(WorkflowValidationError, match=f"has a node in the attribute '{name}'") as raised:
        type("Taken", (WorkflowDefinition,), {name: fetch.node()("x")})
    assert raised.value.code == "HRS-003"


def test_a_subclass_needs_a_separate_key() -> None:
    with pytest.raises(WorkflowValidationError, match="two definitions have the key"):

        class Same(Ingest):
            last = fetch.node()("x")


class Paged(WorkflowDefinition[str]):
    name = "paged"
    definition_key = "test_workflow_definition.paged"

    @classmethod
    def build_with(cls, app: Any, url: str, times: int = 1) -> WorkflowSpec[str]:
        pages = [fetch.node(node_id=f"page{number}")(url) for number in range(times)]
        return app.workflow("paged", pages, output=pages[-1])


def test_a_spec_of_build_with_has_the_key() -> None:
    spec = Paged.build_with(app, "x", times=2)
    assert (spec.definition_key, spec.node_ids) == (Paged.definition_key, ("page0", "page1"))
    with pytest.raises(WorkflowValidationError, match="has no definition_key"):
        app.workflow("outside", [fetch.node()("x")])


def test_parameters_of_build_with_are_known() -> None:
    signature = Paged.signature()
    assert signature is not None
    assert list(signature.parameters) == ["url", "times"]
    assert signature.decode_call(b'{"url":"x","times":3}') == ((), {"url": "x", "times": 3})
    assert Ingest.signature() is None
    assert Paged.signature() is signature


def test_a_subclass_may_only_have_another_key() -> None:
    class Other(Paged):
        definition_key = "test_workflow_definition.other"

    assert definitions()[Other.definition_key] is Other
    assert Other.build_with(app, "x").definition_key == Other.definition_key


def test_a_definition_of_variadic_parameters_can_be_built_by_a_worker() -> None:
    class Open(WorkflowDefinition[str]):
        name = "open"
        definition_key = "test_workflow_definition.open"

        @classmethod
        def build_with(cls, app: Any, *args: Any, **params: Any) -> WorkflowSpec[str]:
            page = fetch.node()(*args, **params)
            return app.workflow("open", [page], output=page)

    assert Open.build_with(app, url="x").definition_key == Open.definition_key
    names = {task.name for task in inner_tasks(app)}
    assert {BUILD_TASK + Paged.definition_key, BUILD_TASK + Open.definition_key} <= names


def test_a_definition_with_unsupported_parameters_affects_no_other() -> None:
    class Closed(WorkflowDefinition[str]):
        name = "closed"
        definition_key = "test_workflow_definition.closed"

        @classmethod
        def build_with(cls, app: Any, make: Callable[[], str]) -> WorkflowSpec[str]:
            page = fetch.node()(make())
            return app.workflow("closed", [page], output=page)

    assert Closed.build_with(app, lambda: "x").definition_key == Closed.definition_key
    names = {task.name for task in inner_tasks(app)}
    assert BUILD_TASK + Paged.definition_key in names
    assert BUILD_TASK + Closed.definition_key not in names


def test_a_sub_workflow_takes_them() -> None:
    node = SubWorkflowNode(Paged, kwargs={"url": "x"}, node_id="child")
    spec = app.workflow("outer", [node], output=node, definition_key="outer")
    assert spec.plan[0].args == b'{"url":"x"}'
    assert node.result_codec().ok_type is str


def test_definitions_are_known_by_their_keys() -> None:
    assert definitions()[Ingest.definition_key] is Ingest
    assert definitions()[Paged.definition_key] is Paged


def test_one_class_defined_twice_is_no_duplicate() -> None:
    def define() -> type[WorkflowDefinition[str]]:
        class Twice(WorkflowDefinition[str]):
            name = "twice"
            definition_key = "test_workflow_definition.twice"
            page = fetch.node()("x")

        return Twice

    define()
    assert define() is definitions()["test_workflow_definition.twice"]


def test_a_base_without_nodes_is_no_definition() -> None:
    class Base(WorkflowDefinition[str]):
        definition_key = "test_workflow_definition.base"

    assert Base.definition_key not in definitions()


def test_the_output_may_be_left_out() -> None:
    class Quiet(WorkflowDefinition[None]):
        name = "quiet"
        definition_key = "test_workflow_definition.quiet"
        page = fetch.node()("x")

    assert Quiet.build(app).output is None
    assert SubWorkflowNode(Quiet).result_codec().ok_type is type(None)


def test_a_definition_of_no_type_takes_any_output() -> None:
    class Untyped(WorkflowDefinition):
        name = "untyped"
        definition_key = "test_workflow_definition.untyped"
        page = fetch.node()("x")

        class Meta:
            output = "page"

    assert Untyped.build(app).output is Untyped.page
    assert Untyped.output_type() is Any


def test_all_problems_are_reported_together() -> None:
    class Wrong(WorkflowDefinition[int]):
        page = fetch.node(queue="fast")("x")

        class Meta:
            output = "page"

    with pytest.raises(ValueError, match="4 errors") as raised:
        Wrong.build(app)
    found = [code for code in ("001", "016", "014", "025") if f"[HRS-{code}]" in str(raised.value)]
    assert found == ["001", "016", "014", "025"]
