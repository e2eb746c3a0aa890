"""The validation of workflows, as a user sees it: every code, several errors at once, and their locations."""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from horsies import (
    ErrorCode,
    HorsiesError,
    MultipleValidationErrors,
    NodeKey,
    NodeOptions,
    SubWorkflowNode,
    SuccessCase,
    SuccessPolicy,
    TaskNode,
    TaskResult,
    WorkflowDefinition,
    WorkflowSpec,
    WorkflowValidationError,
    from_node,
)
from horsies.errors import collecting, flatten
from horsies.rendering import render_errors
from horsies.workflows import definition
from horsies.workflows.validation.spec import parse_workflow_id
from tests.support.flows import add, app, fetch, gather, listing, parse, report, resize

PLACE = re.compile(
    r"^ *--> tests/unit/workflows/test_validation\.py:\d+\n *\|\n *\d+ \| [^\n]+\n *\| +\^+\n", re.MULTILINE
)
HERE = re.compile(r"\S+test_validation\.py:\d+")


def failing(make: Callable[[], object]) -> list[HorsiesError]:
    with pytest.raises(HorsiesError) as raised:
        make()
    return list(flatten([raised.value]))


def said(make: Callable[[], object]) -> str:
    """Return the rendered errors without the lines that show the source. Every error must have such lines."""
    problems = failing(make)
    rendered = render_errors(problems, color=False)
    shown, places = PLACE.subn("", rendered)
    assert places == len(problems), rendered
    return re.sub(r"^ +", "", HERE.sub("HERE", shown), flags=re.MULTILINE).strip()


def workflow(*nodes: Any, **options: Any) -> WorkflowSpec[Any]:
    return app.workflow(**{"name": "w", "tasks": list(nodes), "definition_key": "key"} | options)


def node(fn: Any = add, node_id: str | None = "a", **options: Any) -> TaskNode[Any]:
    return TaskNode(fn, node_id=node_id, **options)


def test_a_problem_is_shown_with_its_line() -> None:
    problem, missing = failing(lambda: workflow(fetch.node(node_id="first")(urk="x")))
    assert missing.code is ErrorCode.WORKFLOW_MISSING_REQUIRED_PARAMS
    assert isinstance(problem, WorkflowValidationError)
    first, place, *_, source, underline, help_text = render_errors([problem], color=False).splitlines()
    assert first == "error[HRS-019]: node 'first' binds 'urk', but fetch() has no such parameter"
    assert place.strip().startswith("--> tests/unit/workflows/test_validation.py:")
    assert 'fetch.node(node_id="first")(urk="x")' in source
    assert "^^^" in underline
    assert "did you mean 'url'?" in help_text


def test_001_no_name() -> None:
    assert said(lambda: workflow(node(), name=" ")) == (
        'error[HRS-001]: the workflow has no name\n= help: set a name, such as name="ingest"'
    )


def test_002_no_nodes() -> None:
    assert said(workflow) == "error[HRS-002]: workflow 'w' has no nodes\n= help: list its nodes: tasks=[…]"
    assert said(lambda: workflow(node(), add)) == (
        "error[HRS-002]: workflow 'w' has TaskFunction (<task 'add'>) at index 1, which is not a node\n"
        "= help: make a node from a task: TaskNode(fn=task) or task.node()(…)"
    )


@pytest.mark.parametrize("node_id", ["", "a b", "ü", "x" * 129])
def test_003_a_bad_node_id(node_id: str) -> None:
    assert said(lambda: workflow(node(node_id=node_id))) == (
        f"error[HRS-003]: str ({node_id!r}) is not a valid node id\n"
        "= help: use 1 to 128 of the characters A-Z a-z 0-9 _ - : ."
    ).replace("x" * 129, "x" * 37 + "..." + "x" * 38)


def test_004_a_node_id_twice() -> None:
    assert said(lambda: workflow(node(), node())) == (
        "error[HRS-004]: two nodes of workflow 'w' have the id 'a'\n"
        "= note: the other node is at HERE\n"
        "= help: give one of them another node_id"
    )
    one = node()
    assert said(lambda: workflow(one, one)) == (
        "error[HRS-004]: workflow 'w' lists node 'a' twice\n= help: list it only once"
    )


def test_005_no_root() -> None:
    later: list[Any] = []
    one = node(waits_for=later)
    later.append(one)
    assert said(lambda: workflow(one)) == (
        "error[HRS-005]: every node of workflow 'w' waits for another node, so no node can start\n"
        "= help: remove the waits_for of at least one node\n\n"
        "error[HRS-007]: nodes of workflow 'w' wait for each other: a -> a\n"
        "= note: a waits for a\n"
        "= help: remove one of these dependencies\n\n"
        "error: 2 errors"
    )


def test_006_a_dependency_outside() -> None:
    outside = node(node_id="far")
    assert said(lambda: workflow(node(waits_for=[outside]), node(node_id="root"))) == (
        "error[HRS-006]: node 'a' of workflow 'w' waits for <task node 'far'> (made at HERE), which is not one of "
        "its nodes\n= help: add it to the tasks of the workflow, or remove it from waits_for"
    )
    for wrong in ([add], add):
        assert said(lambda wrong=wrong: workflow(node(waits_for=wrong), node(node_id="root"))) == (
            "error[HRS-006]: node 'a' of workflow 'w' waits for <task 'add'>, which is not a node\n"
            "= help: add it to the tasks of the workflow, or remove it from waits_for"
        )


def test_007_a_cycle_is_printed() -> None:
    later: list[Any] = []
    root = node(node_id="root")
    a = node(node_id="a", waits_for=later)
    b = node(node_id="b", waits_for=[root, a])
    c = node(node_id="c", waits_for=[b])
    later.append(c)
    assert said(lambda: workflow(root, a, b, c)) == (
        "error[HRS-007]: nodes of workflow 'w' wait for each other: a -> c -> b -> a\n"
        "= note: a waits for c\n"
        "c waits for b\n"
        "b waits for a\n"
        "= help: remove one of these dependencies"
    )


def test_007_a_long_cycle_is_printed_in_part() -> None:
    later: list[Any] = []
    nodes = [node(node_id="n0", waits_for=later)]
    for number in range(1, 5_000):
        nodes.append(node(node_id=f"n{number}", waits_for=[nodes[-1]]))
    later.append(nodes[-1])
    [_, cycle] = failing(lambda: workflow(*nodes))
    assert cycle.message.endswith("n0 -> n4999 -> n4998 -> n4997 -> n4996 -> n4995 -> n4994 -> n4993 -> n4992 -> "
                                  "n4991 -> n4990 -> n4989 -> … -> n0")  # fmt: skip
    assert cycle.notes[0].splitlines()[-1] == "… (5000 dependencies in total)"


def test_008_a_source_that_is_not_waited_for() -> None:
    page = fetch.node(node_id="page")("x")
    assert said(lambda: workflow(page, node(parse, args_from={"page": page}))) == (
        "error[HRS-008]: node 'a' takes 'page' from node 'page', which is not in its waits_for\n"
        "= help: add it to waits_for"
    )
    assert said(lambda: workflow(page, node(parse, args_from={"page": fetch}, waits_for=[page]))) == (
        "error[HRS-008]: node 'a' takes 'page' from TaskFunction (<task 'fetch'>), which is not a node\n"
        "= help: pass a node"
    )


def test_008_a_map_over_something_else() -> None:
    wrong: Any = ["a", "b"]
    problems = failing(lambda: workflow(resize.map(over=wrong, node_id="each")(size=1)))
    assert ErrorCode.WORKFLOW_INVALID_ARGS_FROM in {problem.code for problem in problems}
    assert "node 'each' runs over list (['a', 'b']), which is not a node" in {problem.message for problem in problems}


def test_009_a_context_that_is_not_waited_for() -> None:
    page = fetch.node(node_id="page")("x")
    assert said(lambda: workflow(page, node(report, workflow_ctx_from=[page]))) == (
        "error[HRS-009]: node 'a' has in workflow_ctx_from node 'page', which is not in its waits_for\n"
        "= help: add it to waits_for"
    )
    assert "[NodeKey(node_id='x')" not in said(
        lambda: workflow(page, node(report, waits_for=[page], workflow_ctx_from=[NodeKey("x")]))
    )


def test_010_no_parameter_for_the_context() -> None:
    page = fetch.node(node_id="page")("x")
    assert said(lambda: workflow(page, node(add, waits_for=[page], workflow_ctx_from=[page]))) == (
        "error[HRS-010]: node 'a' has workflow_ctx_from, but add() has no parameter 'workflow_ctx'\n"
        "= help: declare workflow_ctx: WorkflowContext | None = None"
    )


def test_010_holds_for_sub_workflows() -> None:
    page = fetch.node(node_id="page")("x")
    assert said(lambda: workflow(page, sub(waits_for=[page], workflow_ctx_from=[page]))) == (
        "error[HRS-010]: node 'a' has workflow_ctx_from, but Plain.build_with() has no parameter 'workflow_ctx'\n"
        "= help: declare workflow_ctx: WorkflowContext | None = None"
    )


def test_011_an_output_outside() -> None:
    assert said(lambda: workflow(node(), output=node(node_id="far"))) == (
        "error[HRS-011]: the output of workflow 'w' is <task node 'far'>, which is not one of its nodes\n"
        "= help: add it to the tasks of the workflow"
    )


def test_012_a_policy_with_unknown_nodes() -> None:
    one, far = node(), node(node_id="far")
    unknown = (
        "error[HRS-012]: the success policy of workflow 'w' names <task node 'far'>, which is not one of its nodes\n"
        "= help: add it to the tasks of the workflow"
    )
    assert said(lambda: workflow(one, success_policy=SuccessPolicy([SuccessCase([one, far])]))) == unknown
    assert said(lambda: workflow(one, success_policy=SuccessPolicy([SuccessCase([one])], optional=[far]))) == unknown
    empty = (
        "error[HRS-012]: the success policy of workflow 'w' has no case, or a case without a required node\n"
        "= help: use SuccessPolicy(cases=[SuccessCase(required=[node])])"
    )
    assert said(lambda: workflow(one, success_policy=SuccessPolicy([]))) == empty
    assert said(lambda: workflow(one, success_policy=SuccessPolicy([SuccessCase([])]))) == empty


def test_012_an_unknown_on_error() -> None:
    assert said(lambda: workflow(node(), on_error="stop")) == (
        "error[HRS-012]: workflow 'w' has the invalid on_error str ('stop')\n= help: use OnError.FAIL or OnError.PAUSE"
    )


@pytest.mark.parametrize(
    ("options", "message", "help_text"),
    [
        ({"join": "most"}, "has the invalid join str ('most')", 'use "all", "any" or "quorum"'),
        ({"join": "quorum"}, 'has join="quorum" and the invalid min_success None', "set min_success to a number from 1 to 1, the number of its dependencies"),
        ({"join": "quorum", "min_success": 2}, 'has join="quorum" and the invalid min_success int (2)', "set min_success to a number from 1 to 1, the number of its dependencies"),
        ({"min_success": 1}, 'has min_success=1, which requires join="quorum"', 'use join="quorum", or remove min_success'),
    ],
)  # fmt: skip
def test_013_a_join_that_makes_no_sense(options: Any, message: str, help_text: str) -> None:
    root = node(node_id="root")
    assert said(lambda: workflow(root, node(waits_for=[root], **options))) == (
        f"error[HRS-013]: node 'a' {message}\n= help: {help_text}"
    )


def test_013_a_join_of_nothing() -> None:
    assert said(lambda: workflow(node(join="any"))) == (
        "error[HRS-013]: node 'a' has join='any' but no dependencies\n"
        "= help: remove join, or add dependencies to waits_for"
    )


def test_013_a_source_that_may_still_run_needs_a_default() -> None:
    page = fetch.node(node_id="page")("x")
    other = fetch.node(node_id="other")("y")
    assert said(lambda: workflow(page, other, parse.node(node_id="a", join="any", waits_for=[other])(from_node(page)))) == (
        "error[HRS-013]: node 'a' has join='any', so node 'page' may still run when it starts, but the parameter 'page' of "
        "parse() has no default\n= help: declare page: … | None = None"
    )  # fmt: skip
    one = parse.node(node_id="one")(from_node(page))
    assert workflow(page, one, add.node(join="any")(from_node(one))).node_ids == ("page", "one", "w:2")


def test_013_a_map_waits_for_its_list() -> None:
    found = listing.node(node_id="found")()
    assert said(lambda: workflow(found, resize.map(over=from_node(found), node_id="each", join="any")(size=1))) == (
        "error[HRS-013]: node 'each' runs over a list, but join='any' may start it before the list is available\n"
        "= help: remove join"
    )


def test_014_an_unknown_queue() -> None:
    assert said(lambda: workflow(node(queue="fast"))) == (
        "error[HRS-014]: node 'a' uses the queue 'fast', which its app does not have\n= help: the queues of the app are main, slow"
    )


@pytest.mark.parametrize("priority", [0, 101, 1.5, True])
def test_015_an_impossible_priority(priority: Any) -> None:
    assert said(lambda: workflow(node(priority=priority))) == (
        f"error[HRS-015]: node 'a' has the invalid priority {type(priority).__name__} ({priority!r})\n"
        "= help: use a whole number from 1 (highest) to 100, or omit it to use the queue's"
    )


def test_016_no_definition_key() -> None:
    assert said(lambda: workflow(node(), definition_key=None)) == (
        "error[HRS-016]: workflow 'w' has no definition_key\n= help: set a key that stays the same as long as runs "
        'of the workflow exist: definition_key="shop.ingest.v1"'
    )


def test_019_an_unknown_parameter() -> None:
    page = fetch.node(node_id="page")("x")
    assert said(lambda: workflow(page, node(parse, waits_for=[page], args_from={"page": page, "zzz": page}))) == (
        "error[HRS-019]: node 'a' binds 'zzz', but parse() has no such parameter\n= help: its parameters are page, strict"
    )
    assert said(lambda: workflow(node(report, kwargs={"workflow_meta": 1}))) == (
        "error[HRS-019]: node 'a' binds 'workflow_meta', which the worker fills in\n= help: remove 'workflow_meta'"
    )


def test_020_a_missing_argument() -> None:
    assert said(lambda: workflow(node(resize))) == (
        "error[HRS-020]: node 'a' leaves 'image', 'size' of resize() without an argument\n"
        "= help: bind each parameter in kwargs or args_from, or declare a default"
    )


def test_020_a_map_without_a_place_for_the_item() -> None:
    found = listing.node(node_id="found")()
    bind = "= help: bind all parameters without a default except one: the unbound parameter gets the item"
    assert said(lambda: workflow(found, resize.map(over=from_node(found), node_id="each")())) == (
        f"error[HRS-020]: node 'each' leaves 'image', 'size' of resize() unbound, but exactly one parameter must receive the item\n{bind}"
    )
    assert said(lambda: workflow(found, resize.map(over=from_node(found), node_id="each")(image="", size=1))) == (
        f"error[HRS-020]: node 'each' leaves no parameter of resize() unbound, "
        f"but exactly one parameter must receive the item\n{bind}"
    )


def test_021_an_argument_twice() -> None:
    page = fetch.node(node_id="page")("x")
    twice = node(parse, kwargs={"page": TaskResult(ok="x")}, waits_for=[page], args_from={"page": page})
    assert said(lambda: workflow(page, twice)) == (
        "error[HRS-021]: node 'a' binds 'page' twice, in kwargs and in args_from\n= help: remove one of them"
    )


def test_021_an_argument_in_an_option_and_in_the_call() -> None:
    page: Any = fetch.node(node_id="page")("x")
    options: dict[str, Any] = {"kwargs": {"size": 1}}
    assert said(lambda: resize.node(**options)("x", size=4)) == (
        "error[HRS-021]: a node of task 'resize' binds 'size' more than once: in the call and in kwargs\n"
        "= help: bind 'size' only once"
    )
    assert said(lambda: parse.node(args_from={"page": page})(from_node(page))) == (
        "error[HRS-021]: a node of task 'parse' binds 'page' more than once: in the call and in args_from\n"
        "= help: bind 'page' only once"
    )
    both: Any = parse.node(kwargs={"page": TaskResult(ok="x")}, args_from={"page": page})
    assert said(both) == (
        "error[HRS-021]: a node of task 'parse' binds 'page' more than once: in kwargs and in args_from\n"
        "= help: bind 'page' only once"
    )


def test_021_an_argument_by_position_and_by_name() -> None:
    factory: Any = resize.node(node_id="a")
    assert said(lambda: factory("x", image="y")) == (
        "error[HRS-021]: a node of task 'resize' binds 'image' more than once: by position and by name\n"
        "= help: bind 'image' only once"
    )


def test_021_an_argument_twice_in_a_map() -> None:
    found = listing.node(node_id="found")()
    assert said(lambda: resize.map(over=from_node(found), kwargs={"size": 1})(size=2)) == (
        "error[HRS-021]: a node of task 'resize' binds 'size' more than once: in the call and in kwargs\n"
        "= help: bind 'size' only once"
    )


def test_102_unknown_options_are_refused_where_they_stand() -> None:
    node: Any = resize.node
    assert said(lambda: node(node_idd="a")) == (
        "error[HRS-102]: resize.node() has no option 'node_idd'\n= help: did you mean 'node_id'?"
    )
    assert said(lambda: node(size=4)) == (
        "error[HRS-102]: resize.node() has no option 'size'\n"
        "= help: pass arguments in the second call: resize.node(…)(size=…)"
    )
    assert said(lambda: node(kwargs=[1])) == (
        "error[HRS-102]: resize.node() got kwargs=list ([1]), which is not a dict of arguments by name\n"
        '= help: write kwargs={"parameter": …}, or pass the arguments in the call that follows'
    )
    several = failing(lambda: node(colour="red", shape="round"))
    assert [(each.code, each.help_text) for each in several] == [
        ("HRS-102", "the options are " + ", ".join(sorted(NodeOptions.__optional_keys__)))
    ] * 2


def test_102_unknown_options_of_a_map() -> None:
    mapped: Any = resize.map
    found = listing.node()()
    assert said(lambda: mapped(over=from_node(found), max_paralel=3, colour="red")).startswith(
        "error[HRS-102]: resize.map() has no option 'max_paralel'"
    )


def test_102_unknown_options_in_meta() -> None:
    class Misspelt(WorkflowDefinition[None]):
        name = "misspelt"
        definition_key = "test_validation.misspelt"
        page = fetch.node()("x")

        class Meta:
            on_eror = "pause"
            retries = 3

    assert said(lambda: Misspelt.build(app)) == (
        "error[HRS-102]: Misspelt.Meta has 'on_eror', which is not an option of a workflow\n"
        "= help: did you mean 'on_error'?\n\n"
        "error[HRS-102]: Misspelt.Meta has 'retries', which is not an option of a workflow\n"
        "= help: the options are on_error, output, success_policy\n\n"
        "error: 2 errors"
    )


def test_102_a_check_continues_without_unknown_options() -> None:
    node: Any = fetch.node
    found: list[HorsiesError] = []
    with collecting(found):
        made = node(colour="red", node_id="a")("x")
    assert [each.code for each in found] == ["HRS-102"]
    assert (made.node_id, made.kwargs) == ("a", {"url": "x"})


def test_008_a_source_in_args_from_that_is_no_node() -> None:
    wrong: Any = parse.node(node_id="a", args_from={"page": "x"})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
    assert said(lambda: workflow(wrong())) == (
        "error[HRS-008]: node 'a' takes 'page' from str ('x'), which is not a node\n= help: pass a node"
    )


def test_008_from_node_of_another_object() -> None:
    call: Any = from_node
    assert said(lambda: call("page")) == (
        "error[HRS-008]: from_node() got str ('page'), which is not a node\n"
        "= help: pass the return value of task.node()(…), task.map(…)(…), TaskNode(…) or SubWorkflowNode(…)"
    )
    assert said(lambda: call(fetch)) == (
        "error[HRS-008]: from_node() got TaskFunction (<task 'fetch'>), which is not a node\n"
        "= help: make a node of the task first: from_node(task.node()(arguments))"
    )
    for factory in (fetch.node(), fetch.map(over=from_node(listing.node()()))):
        [problem] = failing(lambda factory=factory: call(factory))
        assert problem.help_text == "call it with the arguments of the task: task.node(…)(arguments)"
        assert problem.location is not None
        assert problem.location.file == __file__


def test_024_a_result_of_another_type() -> None:
    page, found = fetch.node(node_id="page")("x"), listing.node(node_id="found")()
    assert said(lambda: workflow(found, node(parse, waits_for=[found], args_from={"page": found}))) == (
        "error[HRS-024]: node 'a' gets TaskResult[list[str], TaskError] from node 'found', but the parameter 'page' of "
        "parse() is TaskResult[str, TaskError]\n= help: declare page: TaskResult[list[str], TaskError]"
    )
    assert said(lambda: workflow(page, node(fetch, waits_for=[page], args_from={"url": page}))) == (
        "error[HRS-024]: node 'a' gets TaskResult[str, TaskError] from node 'page', but the parameter 'url' of fetch() "
        "is str\n= help: declare url: TaskResult[str, TaskError]"
    )


def test_024_an_item_of_another_type() -> None:
    found, page = listing.node(node_id="found")(), fetch.node(node_id="page")("x")
    assert said(lambda: workflow(found, resize.map(over=from_node(found), node_id="each")(image="x"))) == (
        "error[HRS-024]: node 'each' runs over list[str], but the item 'size' of resize() is int\n"
        "= help: make the types match: size: str"
    )
    assert said(lambda: workflow(page, resize.map(over=from_node(page), node_id="each")(size=1))) == (
        "error[HRS-024]: node 'each' runs over str, which is not a list, but 'image' of resize() needs the items of a list\n"
        "= help: make the preceding node return a list[str]"
    )


def test_026_positional_arguments() -> None:
    args: Any = ("x", 1)
    assert said(lambda: workflow(TaskNode(fetch, args=args, node_id="a"))) == (
        "error[HRS-026]: node 'a' has positional arguments: str ('x'), int (1)\n"
        "= help: bind them by name in kwargs, or use task.node()(…)"
    )
    assert said(lambda: workflow(fetch.node(node_id="a")("x", "y"))) == (
        "error[HRS-026]: node 'a' has positional arguments: str ('y')\n"
        "= help: bind them by name in kwargs, or use task.node()(…)"
    )


def test_031_an_argument_that_cannot_be_stored() -> None:
    assert said(lambda: workflow(node(resize, kwargs={"image": 1.5, "size": "1"}))) == (
        "error[HRS-031]: node 'a' cannot pass its argument to resize(): image: expected str, got float (1.5)\n"
        "= help: pass data of the declared type\n\n"
        "error[HRS-031]: node 'a' cannot pass its argument to resize(): size: expected int, got str ('1')\n"
        "= help: pass data of the declared type\n\n"
        "error: 2 errors"
    )


def test_031_a_source_in_kwargs() -> None:
    page = fetch.node(node_id="page")("x")
    [problem] = failing(lambda: workflow(page, node(parse, kwargs={"page": from_node(page)})))
    assert problem.code is ErrorCode.WORKFLOW_KWARGS_NOT_SERIALIZABLE
    assert problem.help_text == "use args_from={'page': node}"


def test_032_an_id_that_is_no_uuid() -> None:
    assert said(lambda: parse_workflow_id("run-1")) == (
        "error[HRS-032]: the workflow_id str ('run-1') is not a UUID\n= help: pass str(uuid.uuid4()), or omit workflow_id to get a new id"
    )
    text = "0198c0de-0000-7000-8000-000000000000"
    assert str(parse_workflow_id(text)) == text


def test_102_options_out_of_range() -> None:
    assert said(lambda: workflow(node(timeout_ms=99))) == (
        "error[HRS-102]: node 'a' has the invalid timeout_ms int (99)\n= help: use a whole number from 100 to 2,147,483,647"
    )
    assert "not an aware datetime" in said(lambda: workflow(node(good_until=datetime(2030, 1, 1))))  # noqa: DTZ001
    found = listing.node(node_id="found")()
    each = resize.map(over=from_node(found), node_id="each", max_parallel=0)(size=1)
    assert "node 'a' has the invalid timeout_ms int (2147483648)" in said(lambda: workflow(node(timeout_ms=2**31)))
    assert "node 'each' has the invalid max_parallel int (0)" in said(lambda: workflow(found, each))


def test_300_a_function_that_is_no_task() -> None:
    assert said(lambda: workflow(node(len))) == (
        "error[HRS-300]: node 'a' runs builtin_function_or_method (<built-in function len>), which is not a task\n"
        "= help: decorate the function with @app.task(…)"
    )


def test_all_problems_of_a_spec_are_reported_at_once() -> None:
    far = node(node_id="far")
    with pytest.raises(MultipleValidationErrors) as raised:
        app.workflow("", [node(fetch, "b c", waits_for=[far], queue="fast"), node()], output=far)
    codes = [problem.code.removeprefix("HRS-") for problem in raised.value.report.errors]
    assert codes == ["001", "016", "003", "006", "011", "014", "020"]


def test_a_running_check_collects_errors_and_continues() -> None:
    found: list[HorsiesError] = []
    with collecting(found):
        spec = workflow(node(resize))
        spec.index_of(spec.tasks[0])
    assert [problem.code for problem in found] == [ErrorCode.WORKFLOW_MISSING_REQUIRED_PARAMS]


class Plain(WorkflowDefinition[str]):
    name = "plain"
    definition_key = "test_validation.plain"
    page = fetch.node()("x")

    class Meta:
        output = "page"


class Made(WorkflowDefinition[str]):
    name = "made"
    definition_key = "test_validation.made"

    @classmethod
    def build_with(cls, app: Any, url: str, depth: TaskResult[int, Any] | None = None) -> WorkflowSpec[str]:
        page = fetch.node(node_id=f"page{depth}")(url)
        return app.workflow("made", [page], output=page)


def sub(definition: Any = Plain, **options: Any) -> SubWorkflowNode[Any]:
    return SubWorkflowNode(definition, node_id="a", **options)


def test_017_a_key_twice() -> None:
    def define() -> None:
        class Again(WorkflowDefinition[str]):
            definition_key = Plain.definition_key
            page = fetch.node()("x")

    assert said(define) == (
        f"error[HRS-017]: two definitions have the key {Plain.definition_key!r}: Plain and Again\n"
        "= note: the other definition is at HERE\n"
        "= help: give Again a unique definition_key"
    )


def test_018_a_sub_workflow_without_an_app() -> None:
    assert said(lambda: WorkflowSpec("w", [sub()], definition_key="key")) == (
        "error[HRS-018]: node 'a' is a sub-workflow, but workflow 'w' belongs to no app\n"
        "= help: make the workflow with app.workflow(…), or pass app="
    )


def test_016_a_sub_workflow_that_is_none() -> None:
    [problem] = failing(lambda: workflow(sub(fetch)))
    assert problem.message == "node 'a' runs TaskFunction (<task 'fetch'>), which has no definition_key"


def test_022_parameters_for_nobody() -> None:
    assert said(lambda: workflow(sub(kwargs={"url": "x", "depth": 1}))) == (
        "error[HRS-022]: node 'a' passes 'url', 'depth' to Plain, which takes no parameters\n"
        "= help: define build_with(cls, app, url, depth) in Plain"
    )
    with pytest.raises(WorkflowValidationError, match="HRS-022"):
        Plain.build_with(app, url="x")
    assert Plain.build_with(app).definition_key == Plain.definition_key


def test_023_parameters_that_do_not_bind() -> None:
    assert said(lambda: workflow(sub(Made, kwargs={"urk": "x"}))) == (
        "error[HRS-023]: node 'a' binds 'urk', but Made.build_with() has no such parameter\n"
        "= help: did you mean 'url'?\n\n"
        "error[HRS-023]: node 'a' leaves 'url' of Made.build_with() without an argument\n"
        "= help: bind each parameter in kwargs or args_from, or declare a default\n\n"
        "error: 2 errors"
    )


def test_023_parameters_that_cannot_be_carried() -> None:
    class Open(WorkflowDefinition[str]):
        name = "open"
        definition_key = "test_validation.open"

        @classmethod
        def build_with(cls, app: Any, **params: Callable[[], str]) -> WorkflowSpec[str]:
            page = fetch.node()(params["url"]())
            return app.workflow("open", [page], output=page)

    [problem] = failing(lambda: workflow(sub(Open, kwargs={"url": "x"})))
    assert problem.code is ErrorCode.WORKFLOW_SUBWORKFLOW_BUILD_WITH_BINDING
    assert (
        problem.message == "node 'a' runs Open, whose build_with() has a parameter that cannot be represented as JSON"
    )
    assert "parameter 'params' of build_with()" in problem.notes[0]


class Variadic(WorkflowDefinition[str]):
    name = "variadic"
    definition_key = "test_validation.variadic"

    @classmethod
    def build_with(cls, app: Any, url: str, *args: str, **others: int) -> WorkflowSpec[str]:
        page = fetch.node()(f"{url} {args} {others}")
        return app.workflow("variadic", [page], output=page)


class OnlyPositional(WorkflowDefinition[str]):
    name = "only positional"
    definition_key = "test_validation.only-positional"

    @classmethod
    def build_with(cls, app: Any, url: str, *args: str) -> WorkflowSpec[str]:
        page = fetch.node()(f"{url} {args}")
        return app.workflow("only positional", [page], output=page)


def test_variadic_parameters_take_the_arguments_that_no_other_takes() -> None:
    number = parse.node(node_id="number")(TaskResult(ok="x"))
    spec = workflow(number, sub(Variadic, kwargs={"url": "x", "depth": 2}))
    assert spec.plan[1].args == b'{"url":"x","depth":2}'


def test_031_arguments_of_variadic_parameters_are_of_their_type() -> None:
    assert said(lambda: workflow(sub(Variadic, kwargs={"url": 1, "depth": "2"}))) == (
        "error[HRS-031]: node 'a' cannot pass its argument to Variadic.build_with(): url: expected str, got int (1)\n"
        "= help: pass data of the declared type\n\n"
        "error[HRS-031]: node 'a' cannot pass its argument to Variadic.build_with(): depth: expected int, got str ('2')\n"
        "= help: pass data of the declared type\n\n"
        "error: 2 errors"
    )


def test_024_results_for_variadic_parameters_are_of_their_type() -> None:
    page = fetch.node(node_id="page")("x")
    node = sub(Variadic, kwargs={"url": "x"}, waits_for=[page], args_from={"depth": page})
    [problem] = failing(lambda: workflow(page, node))
    assert (problem.code, "'depth' of Variadic.build_with() is int" in problem.message) == ("HRS-024", True)


def test_020_and_023_hold_beside_variadic_parameters() -> None:
    assert [each.code for each in failing(lambda: workflow(sub(Variadic, kwargs={"depth": 1})))] == ["HRS-023"]
    assert said(lambda: workflow(sub(OnlyPositional, kwargs={"url": "x", "depth": 1}))) == (
        "error[HRS-023]: node 'a' binds 'depth', but OnlyPositional.build_with() has no such parameter\n"
        "= help: its parameters are url"
    )


def test_024_and_031_hold_for_sub_workflows() -> None:
    page = fetch.node(node_id="page")("x")
    codes = [
        problem.code.removeprefix("HRS-")
        for problem in failing(
            lambda: workflow(page, sub(Made, kwargs={"url": 5}, waits_for=[page], args_from={"depth": page}))
        )
    ]
    assert codes == ["031", "024"]


def test_025_an_output_of_another_type() -> None:
    class Wrong(WorkflowDefinition[int]):
        name = "wrong"
        definition_key = "test_validation.wrong"
        page = fetch.node()("x")

        class Meta:
            output = "page"

    assert said(lambda: Wrong.build(app)) == (
        "error[HRS-025]: Wrong is a WorkflowDefinition[int], but <task node 'page'> returns str\n"
        "= help: set an output node of that type in Meta, or derive Wrong from WorkflowDefinition[str]"
    )


def test_025_no_output_at_all() -> None:
    class Silent(WorkflowDefinition[int]):
        name = "silent"
        definition_key = "test_validation.silent"
        page = fetch.node()("x")

    assert said(lambda: Silent.build(app)) == (
        "error[HRS-025]: Silent is a WorkflowDefinition[int], but it has no output\n"
        "= help: set an output node of that type in Meta, or derive Silent from WorkflowDefinition[None]"
    )


def test_025_of_what_build_with_returns() -> None:
    class Liar(WorkflowDefinition[int]):
        name = "liar"
        definition_key = "test_validation.liar"

        @classmethod
        def build_with(cls, app: Any) -> WorkflowSpec[Any]:
            page = fetch.node()("x")
            return app.workflow("liar", [page], output=page)

    assert said(lambda: Liar.build_with(app)).startswith("error[HRS-025]: Liar is a WorkflowDefinition[int], but")


def test_029_build_with_must_return_a_spec() -> None:
    class Forgetful(WorkflowDefinition[str]):
        name = "forgetful"
        definition_key = "test_validation.forgetful"

        @classmethod
        def build_with(cls, app: Any) -> WorkflowSpec[str]:  # noqa: ARG003
            return None

    assert said(lambda: Forgetful.build_with(app)) == (
        "error[HRS-029]: Forgetful.build_with() returned None, which is not a WorkflowSpec\n= help: return app.workflow(…)"
    )


def test_007_a_definition_that_contains_itself() -> None:
    class Endless(WorkflowDefinition[str]):
        name = "endless"
        definition_key = "test_validation.endless"

        @classmethod
        def build_with(cls, app: Any) -> WorkflowSpec[str]:
            again = SubWorkflowNode(cls, node_id="again")
            return app.workflow("endless", [again], output=again)

    assert said(lambda: Endless.build_with(app)) == (
        "error[HRS-007]: node 'again' runs Endless, which contains itself: Endless -> Endless\n"
        "= help: remove one of these sub-workflows: a workflow cannot contain itself, directly or indirectly"
    )


def test_007_a_definition_that_contains_itself_deep_down(monkeypatch: pytest.MonkeyPatch) -> None:
    # A check looks at all definitions of the process, so the checks of later tests must not see these two.
    monkeypatch.setattr(definition, "_definitions", dict(definition.definitions()))

    class Inner(WorkflowDefinition[str]):
        name = "inner"
        definition_key = "test_validation.inner"

        @classmethod
        def build_with(cls, app: Any) -> WorkflowSpec[str]:
            outer = SubWorkflowNode(Outer, node_id="outer")
            return app.workflow("inner", [outer], output=outer)

    class Outer(WorkflowDefinition[str]):
        name = "outer"
        definition_key = "test_validation.outer"
        inner = SubWorkflowNode(Inner)

        class Meta:
            output = "inner"

    [problem] = failing(lambda: Inner.build_with(app))
    assert problem.message == "node 'outer' runs Outer, which contains itself: Outer -> Inner -> Outer"


def test_gather_takes_what_a_map_gives() -> None:
    found = listing.node(node_id="found")()
    each = resize.map(over=from_node(found), node_id="each")(size=1)
    spec = workflow(found, each, total := gather.node(node_id="total")(from_node(each)), output=total)
    assert spec.node_ids == ("found", "each", "total")
