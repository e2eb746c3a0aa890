"""``horsies workflows``: shows, pauses, resumes and cancels runs of workflows."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from horsies.app import Horsies
from horsies.cli.database import AS_JSON, LOCATOR, granted, operator, split_ids, viewer
from horsies.cli.output import print_documents, print_facts, print_rows, say
from horsies.codes import WorkflowStatus
from horsies.db.operations import Call
from horsies.db.queries import workflows as workflow_queries
from horsies.errors import ConfigurationError, ErrorCode
from horsies.monitoring.asking import answered
from horsies.rendering import printable_line

if TYPE_CHECKING:
    from horsies.db.queries.rows import RunTaskRow

workflows = typer.Typer(
    no_args_is_help=True,
    help="Show, pause, resume and cancel runs of workflows.\n\n"
    "Example: horsies workflows list instance:app --status PAUSED",
)

_STATUS = typer.Option("--status", case_sensitive=False, help="Only runs with this status.")
_LIMIT = typer.Option("--limit", min=1, max=1000, help="Maximum number of runs.")
_RUNS = typer.Argument(metavar="[MODULE:APP] WORKFLOW_ID", help="The app whose database is used, and ids of runs.")
_COLUMNS = "workflow_id name status total completed failed skipped started_at finished_at"
_MARKS = {
    "COMPLETED": "✓",
    "FAILED": "✗",
    "SKIPPED": "-",
    "RUNNING": "▶",
    "READY": "‖",
    "ENQUEUED": "…",
    "PENDING": "·",
}


@workflows.command("list")
def list_(
    locator: Annotated[str | None, LOCATOR] = None,
    *,
    status: Annotated[WorkflowStatus | None, _STATUS] = None,
    limit: Annotated[int, _LIMIT] = 20,
    as_json: Annotated[bool, AS_JSON] = False,
) -> None:
    """List runs, the latest first. Child runs are not listed; `show` of the parent run names them.

    Example: horsies workflows list instance:app --status FAILED
    """
    app = viewer(locator)
    found = _ask(app, workflow_queries.workflow_list(status, limit))
    app.close()
    data = [{name: getattr(run, name) for name in _COLUMNS.split()} for run in found]
    print_rows(found, _COLUMNS, lambda: "no such runs", data if as_json else None)


@workflows.command()
def show(arguments: Annotated[list[str], _RUNS], *, as_json: Annotated[bool, AS_JSON] = False) -> None:
    """Show a run and its graph. A node is below the nodes that it waits for. Exits with 1 if the run does not exist.

    Example: horsies workflows show instance:app 01931c2e-5b7e-7c3a-9d0e-2f4a5b6c7d8e
    """
    locator, ids = split_ids(arguments, needed="run")
    app = viewer(locator)
    documents: list[object] = []
    for run_id in ids:
        run = _ask(app, workflow_queries.workflow_state(UUID(run_id)))
        if run is None:
            raise _no_run(run_id)
        nodes = _ask(app, workflow_queries.workflow_tasks(UUID(run_id), with_results=as_json))
        facts: dict[str, object] = {name: getattr(run, name) for name in _COLUMNS.split()}
        facts["error"] = None if run.error is None else json.loads(run.error)
        if as_json:
            documents.append(facts | {"nodes": [_as_data(node) for node in nodes]})
            continue
        error: Any = facts["error"]
        print_facts(facts | {"error": error and f"{error['error_code']}: {error['message']}"})
        say()
        for line in draw(nodes):
            say(printable_line(line))
    if as_json:
        print_documents(documents)
    app.close()


def _as_data(node: "RunTaskRow") -> dict[str, Any]:
    stored = {"result": node.result, "summary": node.summary}
    return node._asdict() | {name: None if text is None else json.loads(text) for name, text in stored.items()}


def draw(nodes: Sequence["RunTaskRow"]) -> list[str]:
    """Draw a graph as lines. A node is indented further than the nodes it waits for; an arrow points to their ids."""
    levels: dict[int, int] = {}
    waiting = list(nodes)
    while waiting:  # a spec may list a node before the nodes that it waits for
        ready = [node for node in waiting if all(source in levels for source in node.waits_for)]
        levels |= {node.node_index: 1 + max((levels[each] for each in node.waits_for), default=-1) for node in ready}
        waiting = [node for node in waiting if node.node_index not in levels]
    names = {node.node_index: node.node_id for node in nodes}
    lines: list[str] = []
    for node in sorted(nodes, key=lambda node: (levels[node.node_index], node.node_index)):
        arrow = f" ← {', '.join(names[source] for source in node.waits_for)}" if node.waits_for else ""
        child = f" (run {node.child_id})" if node.child_id else ""
        code = f" {node.error_code}" if node.error_code else ""
        head = f"{'  ' * levels[node.node_index]}{_MARKS[node.status]} {node.node_id}"
        lines.append(f"{head:<32} {node.status}{code}{child}{arrow}")
    return lines


@workflows.command()
def pause(arguments: Annotated[list[str], _RUNS]) -> None:
    """Pause runs and their child runs: none of their tasks starts until they are resumed. Running tasks finish.

    Example: horsies workflows pause instance:app 01931c2e-5b7e-7c3a-9d0e-2f4a5b6c7d8e
    """
    _control(arguments, "pause", "paused", "not running")


@workflows.command()
def resume(arguments: Annotated[list[str], _RUNS]) -> None:
    """Resume paused runs and their child runs.

    Example: horsies workflows resume instance:app 01931c2e-5b7e-7c3a-9d0e-2f4a5b6c7d8e
    """
    _control(arguments, "resume", "resumed", "not paused")


@workflows.command()
def cancel(arguments: Annotated[list[str], _RUNS]) -> None:
    """Cancel runs and their child runs. Waiting nodes are skipped, running tasks are stopped.

    Example: horsies workflows cancel instance:app 01931c2e-5b7e-7c3a-9d0e-2f4a5b6c7d8e
    """
    _control(arguments, "cancel", "cancelled", "had ended before")


def _control(arguments: list[str], action: str, done: str, otherwise: str) -> None:
    locator, ids = split_ids(arguments, needed="run")
    app = viewer(locator)
    for run_id in ids:
        verdict = _ask(app, workflow_queries.workflow_control(UUID(run_id), action, who=operator()))
        if verdict == "unknown":
            raise _no_run(run_id)
        say(f"{run_id} {done if verdict == 'changed' else otherwise}")
    app.close()


def _ask[R](app: Horsies, call: Call[R]) -> R:
    return granted(app, app.producer.runner.run(answered(call)))


def _no_run(run_id: str) -> ConfigurationError:
    message = f"there is no run {run_id}; its record may have been pruned"
    return ConfigurationError(ErrorCode.CLI_INVALID_ARGS, message, help_text="see: horsies workflows list")
