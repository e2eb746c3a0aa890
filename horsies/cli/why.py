"""``horsies why``."""

from typing import Annotated

import typer

from horsies.app import Horsies
from horsies.cli.database import AS_JSON, IDS, ask, split_ids, viewer
from horsies.cli.output import print_json, say
from horsies.db.queries.rows import Why


def why(
    arguments: Annotated[list[str], IDS],
    *,
    as_json: Annotated[bool, AS_JSON] = False,
) -> None:
    """Explain why tasks or runs are waiting: for a time, a cap, a worker or other nodes.

    Exits with 1 if one of the ids is unknown.

    Example: horsies why instance:app 01931c2e-5b7e-7c3a-9d0e-2f4a5b6c7d8e
    """
    locator, ids = split_ids(arguments, needed="task")
    app = viewer(locator)
    found = [(task_id, _why(app, task_id)) for task_id in ids]
    if as_json:
        print_json([{"task_id": task_id, **answer._asdict()} for task_id, answer in found])
    for task_id, answer in [] if as_json else found:
        say(f"{task_id}: {answer.sentence}")
    raise typer.Exit(1 if any(answer.reason == "unknown" for _, answer in found) else 0)


def _why(app: Horsies, task_id: str) -> Why:
    return ask(app, lambda broker: broker.why(task_id))
