"""The system: the findings of an examination of the database, each problem with its remedy."""

from dataclasses import dataclass

from horsies.monitoring import Finding, diagnose_async
from horsies.web.visit import Visit

_AGE_S = 60.0

_ABOUT = {
    "schema": "whether the tables and functions are those of this version of horsies",
    "rights": "whether roles have the rights that they need, and no others",
    "snapshots": "old transactions, which keep dead rows from being removed",
    "notices": "whether notifications arrive, by which workers learn of new tasks at once",
    "limits": "settings of the server or of roles that keep horsies from working",
    "dead rows": "rows that autovacuum has not removed yet; claims step over them",
    "partitions": "whether there are tables for the ended tasks of the next days",
    "clocks": "whether the clocks of this machine, of senders and of the server agree",
    "workers": "the registered workers and their versions",
    "clock skew": "whether the clocks of workers and of the server agree",
    "heartbeats": "workers from which nothing is heard",
    "unclaimable": "waiting tasks that no live worker has or serves",
    "declarations": "whether live workers have the tasks as they were registered last, for sends from SQL",
}


@dataclass(frozen=True, slots=True)
class Look:
    """The result of one look at the database.

    Attributes:
        name: The examined part of the database.
        about: What this is about; empty: unknown.
        found: The result, as text.
        fix: How to fix the problem; None: there is none.
    """

    name: str
    about: str
    found: str
    fix: str | None


@dataclass(frozen=True, slots=True)
class System:
    """The data of the page.

    Attributes:
        problems: The looks that have found a problem.
        others: The other looks.
    """

    problems: tuple[Look, ...]
    others: tuple[Look, ...]


async def load(visit: Visit) -> System:
    """Read the page. The database is examined at most once a minute for all users."""
    looks = [_look(each) for each in await visit.ask("diagnosis", diagnose_async, max_age_s=_AGE_S)]
    return System(
        problems=tuple(each for each in looks if each.fix is not None),
        others=tuple(each for each in looks if each.fix is None),
    )


def _look(finding: Finding) -> Look:
    return Look(finding.look, _ABOUT.get(finding.look, ""), finding.found, finding.fix)
