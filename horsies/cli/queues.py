"""``horsies queues``: shows, pauses and resumes queues, and changes their limits."""

from typing import Annotated

import typer

from horsies.app import Horsies
from horsies.cli.database import AS_JSON, ask, did_you_mean
from horsies.cli.flow import LIFTED, parse_cap, parse_rate, show_rate
from horsies.cli.locate import locate
from horsies.cli.output import print_facts, print_json, print_table, say
from horsies.db.operations import UNSET
from horsies.db.queries.limits import QueueLimits
from horsies.errors import ConfigurationError, ErrorCode
from horsies.monitoring.broker import Broker
from horsies.producer.handle import BrokerResult
from horsies.result import Err

queues = typer.Typer(
    no_args_is_help=True,
    help="Show, pause and resume queues, and change their limits.\n\nExample: horsies queues list instance:app",
)

_APP = typer.Argument(metavar="MODULE:APP", help="The app that declares the queue.")
_NAME = typer.Argument(metavar="QUEUE", help="The queue's name.")
_MOST = typer.Argument(metavar="[MOST]", min=0, help="Cap of the whole cluster. Default: the declared cap.")
_PER_KEY = typer.Option(metavar="NUMBER", help="How many tasks of one key run at the same time.")
_RATE = typer.Option(metavar="RATE", help="How many tasks of the queue start in a time, such as 100/60s.")
_RATE_PER_KEY = typer.Option(metavar="RATE", help="How many tasks of one key start in a time, such as 10/1s.")
_COLUMNS = "name waiting scheduled claimed running paused max_concurrency workers"


@queues.command("list")
def list_(locator: Annotated[str, _APP], *, as_json: Annotated[bool, AS_JSON] = False) -> None:
    """List queues with their numbers of waiting, scheduled, claimed and running tasks, and their pauses and caps.

    Example: horsies queues list instance:app
    """
    app = locate(locator)
    declared = {queue.name: queue.max_concurrency for queue in app.config.queues}
    found = [
        each if each.max_concurrency is not None else each._replace(max_concurrency=declared.get(each.name))
        for each in ask(app, lambda broker: broker.get_queues(list(declared)))
    ]
    if as_json:
        print_json([each._asdict() for each in found])
    else:
        print_table(found, _COLUMNS)


@queues.command()
def pause(locator: Annotated[str, _APP], name: Annotated[str, _NAME]) -> None:
    """Pause a queue in the whole cluster: no task of it starts until it is resumed. Running tasks finish.

    Example: horsies queues pause instance:app default
    """
    changed = ask(app_with(locator, name), lambda broker: broker.pause_queue(name))
    say(f"queue {name} is paused" if changed else f"queue {name} was paused before")


@queues.command()
def resume(locator: Annotated[str, _APP], name: Annotated[str, _NAME]) -> None:
    """Resume a paused queue.

    Example: horsies queues resume instance:app default
    """
    changed = ask(app_with(locator, name), lambda broker: broker.resume_queue(name))
    say(f"queue {name} is resumed" if changed else f"queue {name} was not paused")


@queues.command()
def cap(locator: Annotated[str, _APP], name: Annotated[str, _NAME], most: Annotated[int | None, _MOST] = None) -> None:
    """Change the cap of a queue, in place of the one that the app declares. Without a number, restore the declared one.

    Example: horsies queues cap instance:app default 3
    """
    ask(app_with(locator, name), lambda broker: broker.cap_queue(name, most))
    say(f"queue {name} has " + ("the cap that the app declares" if most is None else f"a cap of {most}"))


@queues.command()
def limit(  # noqa: PLR0913 - one parameter an option
    locator: Annotated[str, _APP],
    name: Annotated[str, _NAME],
    *,
    per_key: Annotated[str | None, _PER_KEY] = None,
    rate: Annotated[str | None, _RATE] = None,
    rate_per_key: Annotated[str | None, _RATE_PER_KEY] = None,
    as_json: Annotated[bool, AS_JSON] = False,
) -> None:
    """Change the limits of keys and the rates of a queue, in place of those that the app declares, and show them.

    The word 'none' lifts a limit, whatever the app declares, and 'declared' restores what the app declares. Limits that
    are not named stay as they are, so without options the command only shows them. They stay when the app is deployed.
    Limits of keys need a queue that is keyed.

    Example: horsies queues limit instance:app default --rate 100/60s
    """
    most, start_rate, key_rate = parse_cap(per_key), parse_rate(rate), parse_rate(rate_per_key)
    app = app_with(locator, name)

    async def change(broker: Broker) -> BrokerResult[QueueLimits]:
        if any(value is not UNSET for value in (most, start_rate, key_rate)):
            changed = await broker.limit_queue_async(name, per_key=most, rate=start_rate, rate_per_key=key_rate)
            if isinstance(changed, Err):
                return changed
        return await broker.get_queue_limits_async(name)

    limits = ask(app, change)
    rates = {"rate": show_rate(limits.rate), "rate_per_key": show_rate(limits.rate_per_key)}
    if as_json:
        print_json(limits._asdict() | rates)
    else:
        facts = limits._asdict() | rates
        lifted = {name: LIFTED for name in limits.set_at_run_time if facts[name] is None}
        print_facts(facts | lifted | {"set_at_run_time": ", ".join(limits.set_at_run_time) or None})


def app_with(locator: str, queue: str) -> Horsies:
    """Load the app and require that it declares the queue. A misspelled name would otherwise have no effect."""
    app = locate(locator)
    known = app.config.queue_names()
    if queue not in known:
        message = f"the app has no queue {queue!r}{did_you_mean(queue, known)}"
        raise ConfigurationError(ErrorCode.CLI_INVALID_ARGS, message, help_text=f"its queues are {', '.join(known)}")
    return app
