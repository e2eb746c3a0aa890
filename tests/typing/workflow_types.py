"""What type checkers infer for workflows. Checked by pyright and mypy, never run."""

from typing import Any, assert_type

from horsies import (
    AppConfig,
    Err,
    Horsies,
    MapNode,
    NodeKey,
    Ok,
    OnError,
    SubWorkflowNode,
    SubWorkflowSummary,
    TaskError,
    TaskNode,
    TaskResult,
    WorkflowContext,
    WorkflowDefinition,
    WorkflowHandle,
    WorkflowSpec,
    WorkflowStartError,
    from_node,
)

app = Horsies(AppConfig())


@app.task("fetch")
async def fetch(url: str) -> TaskResult[str, TaskError]:
    return TaskResult(ok=url)


@app.task("parse")
def parse(page: TaskResult[str, TaskError], *, strict: bool = False) -> TaskResult[int, TaskError]:
    return TaskResult(ok=len(page.unwrap()) + strict)


@app.task("listing")
def listing() -> TaskResult[list[str], TaskError]:
    return TaskResult(ok=[])


class ParseError(TaskError):
    line: int


@app.task("count")
def count(page: TaskResult[str, TaskError]) -> TaskResult[int, ParseError]:
    return TaskResult(err=ParseError(error_code="BAD_LINE", line=3))


@app.task("explain")
def explain(counted: TaskResult[int, ParseError]) -> TaskResult[str, TaskError]:
    return TaskResult(ok=f"line {counted.unwrap_err().line}")


@app.task("average")
def average(number: TaskResult[float, TaskError]) -> TaskResult[float, TaskError]:
    return number


def nodes_have_the_type_of_their_results() -> None:
    assert_type(TaskNode(fn=fetch, kwargs={"url": "x"}), TaskNode[str])
    assert_type(fetch.node(node_id="a")("x"), TaskNode[str])
    assert_type(from_node(fetch.node()("x")), TaskResult[str, TaskError])
    assert_type(fetch.node(node_id="a")("x").key(), NodeKey[str])
    assert_type(NodeKey("a"), NodeKey[Any])
    assert_type(parse.node(join="any")(from_node(fetch.node()("x")), strict=True), TaskNode[int])
    assert_type(average.node()(from_node(parse.node()(from_node(fetch.node()("x"))))), TaskNode[float])


def nodes_have_the_type_of_their_errors(context: WorkflowContext) -> None:
    page = fetch.node()("x")
    counted = count.node(node_id="counted")(from_node(page))
    assert_type(counted, TaskNode[int, ParseError])
    assert_type(TaskNode(fn=count, args_from={"page": page}), TaskNode[int, ParseError])
    assert_type(counted.key(), NodeKey[int, ParseError])
    assert_type(from_node(counted), TaskResult[int, ParseError])
    assert_type(explain.node()(from_node(counted)), TaskNode[str])
    assert_type(average.node()(from_node(counted)), TaskNode[float])
    assert_type(context.result_for(counted), TaskResult[int, ParseError])
    spec = app.workflow("w", [page, counted], output=counted, definition_key="w")
    assert_type(spec, WorkflowSpec[int])
    handle = spec.start().unwrap()
    assert_type(handle.result_for(counted), TaskResult[int, ParseError])
    assert_type(handle.result_for(counted.key()).err, ParseError | None)
    each = count.map(over=from_node(listing.node()()))()
    assert_type(each, MapNode[int, ParseError])
    assert_type(from_node(each), TaskResult[list[TaskResult[int, ParseError]], TaskError])


def a_map_has_a_list_of_results() -> None:
    found = listing.node()()
    each = fetch.map(over=from_node(found), max_parallel=3, node_id="each")()
    assert_type(each, MapNode[str])
    assert_type(from_node(each), TaskResult[list[TaskResult[str, TaskError]], TaskError])


def a_spec_has_the_type_of_its_output() -> None:
    page = fetch.node()("x")
    parsed = parse.node()(from_node(page))
    spec = app.workflow(name="w", tasks=[page, parsed], output=parsed, on_error=OnError.FAIL, definition_key="w")
    assert_type(spec, WorkflowSpec[int])
    assert_type(WorkflowSpec("w", [page], output=page, definition_key="w"), WorkflowSpec[str])
    assert_type(app.workflow("w", [page, parsed], OnError.PAUSE, parsed, definition_key="w"), WorkflowSpec[int])
    several = app.workflow("w", [page, parsed], definition_key="w")
    assert_type(several, WorkflowSpec[dict[str, TaskResult[Any, TaskError]]])


async def a_run_has_the_type_of_its_output() -> None:
    page = fetch.node()("x")
    parsed = parse.node()(from_node(page))
    spec = app.workflow("w", [page, parsed], output=parsed, definition_key="w")
    match spec.start():
        case Ok(handle):
            assert_type(handle, WorkflowHandle[int])
            assert_type(handle.get(timeout_ms=5), TaskResult[int, TaskError])
            assert_type(handle.result_for(page), TaskResult[str, TaskError])
            assert_type(handle.result_for(page.key()), TaskResult[str, TaskError])
        case Err(error):
            assert_type(error, WorkflowStartError)
    assert_type((await Ingest.build(app).start_async()).unwrap(), WorkflowHandle[int])
    several = app.workflow("w", [page, parsed], definition_key="w").start().unwrap()
    assert_type(several.get(), TaskResult[dict[str, TaskResult[Any, TaskError]], TaskError])


class Ingest(WorkflowDefinition[int]):
    name = "ingest"
    definition_key = "typing.ingest"
    page = TaskNode(fn=fetch, kwargs={"url": "x"})
    parsed = TaskNode(fn=parse, waits_for=[page], args_from={"page": page})

    class Meta:
        output = "parsed"


class Paged(WorkflowDefinition[str]):
    name = "paged"
    definition_key = "typing.paged"

    @classmethod
    def build_with(cls, app: Horsies, url: str, *, times: int = 1) -> WorkflowSpec[str]:
        pages = [fetch.node()(url) for _ in range(times)]
        return app.workflow("paged", pages, output=pages[-1])


def a_definition_has_the_type_of_its_output() -> None:
    assert_type(Ingest.build(app), WorkflowSpec[int])
    assert_type(Ingest.parsed, TaskNode[int])
    assert_type(Paged.build_with(app, "x", times=2), WorkflowSpec[str])
    assert_type(SubWorkflowNode(workflow_def=Ingest), SubWorkflowNode[int])
    assert_type(average.node()(from_node(SubWorkflowNode(Ingest))), TaskNode[float])


def a_context_gives_what_its_nodes_return(context: WorkflowContext) -> None:
    assert_type(context.result_for(Ingest.parsed), TaskResult[int, TaskError])
    assert_type(context.result_for(Ingest.page.key()), TaskResult[str, TaskError])
    assert_type(context.summary_for(SubWorkflowNode(Ingest)), SubWorkflowSummary[int])
