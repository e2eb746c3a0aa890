"""``horsies keys``: shows, pauses and resumes the keys of a queue."""

from typing import Annotated

import typer

from horsies.cli.database import AS_JSON, ask
from horsies.cli.output import print_json, print_rows, say
from horsies.cli.queues import app_with
from horsies.db.queries.limits import KeyStats
from horsies.monitoring.broker import Broker
from horsies.producer.handle import BrokerResult
from horsies.result import Err

keys = typer.Typer(
    no_args_is_help=True,
    help="Show, pause and resume the keys of a queue.\n\nExample: horsies keys list instance:app default",
)

_APP = typer.Argument(metavar="MODULE:APP", help="The app that declares the queue.")
_QUEUE = typer.Argument(metavar="QUEUE", help="The queue's name.")
_KEY = typer.Argument(metavar="KEY", help="The key. '' is the key of the tasks without one.")
_AFTER = typer.Option(metavar="KEY", help="Continue after this key.")
_LIMIT = typer.Option(min=1, max=1000, help="Maximum number of keys.")
_REASON = typer.Option(metavar="TEXT", help="Why, as 'horsies why' and the list show it.")
_COLUMNS = " ".join(KeyStats._fields)


@keys.command("list")
def list_(
    locator: Annotated[str, _APP],
    queue: Annotated[str, _QUEUE],
    *,
    after: Annotated[str | None, _AFTER] = None,
    limit: Annotated[int, _LIMIT] = 100,
    as_json: Annotated[bool, AS_JSON] = False,
) -> None:
    """List the keys of a queue that have waiting or running tasks, a hold, or fewer tokens than they may have.

    Waiting tasks are those that are due. HELD_BY is 'paused' or 'rate_limited'. Of a queue that is not keyed any more,
    the keys with holds are shown.

    Example: horsies keys list instance:app default
    """

    async def read(broker: Broker) -> BrokerResult[tuple[list[KeyStats], bool]]:
        limits = await broker.get_queue_limits_async(queue)
        if isinstance(limits, Err):
            return limits
        found = await broker.get_keys_async(queue, after=after, limit=limit)
        return found.map(lambda keys: (keys, limits.value.is_keyed))

    found, is_keyed = ask(app_with(locator, queue), read)
    if found and not is_keyed:
        say(f"queue {queue} is not keyed: these holds have no effect until its app declares keys again", err=True)
    if as_json:
        print_json([each._asdict() for each in found])
    else:
        print_rows(found, _COLUMNS, lambda: f"queue {queue} has no keys with tasks, holds or used tokens")


@keys.command()
def pause(
    locator: Annotated[str, _APP],
    queue: Annotated[str, _QUEUE],
    key: Annotated[str, _KEY],
    *,
    reason: Annotated[str | None, _REASON] = None,
) -> None:
    """Pause a key in the whole cluster: none of its tasks starts until it is resumed. Running tasks finish.

    Example: horsies keys pause instance:app default tenant-7
    """
    app = app_with(locator, queue)
    changed = ask(app, lambda broker: broker.pause_key_async(queue, key, reason=reason))
    say(f"key {key!r} is paused" if changed else f"key {key!r} was paused before")


@keys.command()
def resume(locator: Annotated[str, _APP], queue: Annotated[str, _QUEUE], key: Annotated[str, _KEY]) -> None:
    """Resume a key that is paused, or that a task holds because a service refused work.

    Example: horsies keys resume instance:app default tenant-7
    """
    changed = ask(app_with(locator, queue), lambda broker: broker.resume_key_async(queue, key))
    say(f"key {key!r} is resumed" if changed else f"nothing held the key {key!r}")
