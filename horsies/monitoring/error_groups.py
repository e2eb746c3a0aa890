"""Error groups: failed attempts by task, error code, place in the code, and message."""

from dataclasses import dataclass
from datetime import datetime

from horsies.db.operations import Operation
from horsies.db.queries import errors as error_queries
from horsies.db.queries.errors import ErrorCountRow, ErrorGroupRow
from horsies.monitoring.asking import answered, wrong_limit
from horsies.monitoring.broker import Broker
from horsies.producer.handle import BrokerResult

_MOST_GROUPS = 10_000
_MOST_COUNTS = 100_000


@dataclass(frozen=True, slots=True)
class ErrorGroup:
    """Failed attempts of one task with the same error code, place and message.

    Attributes:
        group_id: The id of the group, for `error_counts`.
        task_name: The name of the task.
        error_code: The error code, its first 200 characters; "other" in the group of a task that collects the errors
            beyond about 1,000 groups.
        frame: The innermost frame of your code in the traceback, as file and function; None: there is no traceback,
            because the task returned the error or its process died, or the group is that of other errors.
        message: The message with numbers, ids and white space replaced, its first 200 characters; "other" in the group
            that collects the messages of a place beyond 20.
        is_other: Whether the group collects the errors beyond the limits.
        first_seen: When an attempt of the group failed first.
        last_seen: When an attempt of the group failed last.
        example_id: The id of the task whose attempt failed last. Its record may have been deleted.
        number: How many attempts failed in the hours that were asked for.
        new_in: The version of the app with which the group appeared: that of the worker that has the task and was
            started last, if no attempt with another version failed in the first hour of the group. None: the group is
            older, or no worker had another version in the last week.
    """

    group_id: int
    task_name: str
    error_code: str
    frame: str | None
    message: str
    is_other: bool
    first_seen: datetime
    last_seen: datetime
    example_id: str
    number: int
    new_in: str | None = None


@dataclass(frozen=True, slots=True)
class ErrorGroups:
    """The error groups of a period.

    Attributes:
        groups: The groups, those with the most failures first.
        known_since: Failures are counted from this time on; None: they are not counted yet. Earlier ones are unknown.
        known_until: The end of the last minute that is counted; None: failures are not counted yet.
        as_of: The time of the database; None: failures are not counted yet.
        is_complete: Whether ``groups`` has all groups of the time. False: the limit was reached.
    """

    groups: tuple[ErrorGroup, ...]
    known_since: datetime | None
    known_until: datetime | None
    as_of: datetime | None
    is_complete: bool


@dataclass(frozen=True, slots=True)
class ErrorCount:
    """How many attempts of an error group failed in one hour, with one version of the app and of the library.

    Attributes:
        hour: The begin of the hour.
        library_version: The version of horsies of the worker; None: unknown.
        app_version: ``AppConfig.app_version`` of the worker, or else a digest of the declared tasks; None: unknown.
        number: How many attempts failed.
    """

    hour: datetime
    library_version: str | None
    app_version: str | None
    number: int


def errors(  # noqa: PLR0913 - one keyword a condition
    broker: Broker,
    since: datetime,
    until: datetime,
    *,
    task_name: str | None = None,
    error_code: str | None = None,
    limit: int = 100,
) -> BrokerResult[ErrorGroups]:
    """Return the error groups that had failed attempts in a period, those with the most failures first.

    Each attempt that ended with an error counts, whether the task was retried or failed. The current minute is not
    included: maintenance counts a minute when it has ended. Groups are kept as long as the records of ended tasks.

    Args:
        broker: The broker of the app: ``app.get_broker()``.
        since: An aware datetime. The whole hour that contains it is included, because failures are counted by hour.
        until: An aware datetime; hours that begin before it.
        task_name: The name of the task; None: any name.
        error_code: The error code; None: any code.
        limit: The largest number of groups, 1 to 10,000.

    Returns:
        The groups; or an error with MONITORING_QUERY_FAILED.
    """
    return broker.runner.run(_errors(since, until, task_name, error_code, limit))


async def errors_async(  # noqa: PLR0913 - one keyword a condition
    broker: Broker,
    since: datetime,
    until: datetime,
    *,
    task_name: str | None = None,
    error_code: str | None = None,
    limit: int = 100,
) -> BrokerResult[ErrorGroups]:
    """Like `errors`, for asyncio."""
    return await broker.runner.run_async(_errors(since, until, task_name, error_code, limit))


def error_counts(
    broker: Broker, group_id: int, since: datetime, until: datetime
) -> BrokerResult[tuple[ErrorCount, ...]]:
    """Return how many attempts of an error group failed by hour and version, the earliest first.

    Args:
        broker: The broker of the app: ``app.get_broker()``.
        group_id: The id of the group, from `errors`.
        since: An aware datetime. The whole hour that contains it is included.
        until: An aware datetime; hours that begin before it.

    Returns:
        The counts, at most 100,000; hours without failures are left out. Or an error with MONITORING_QUERY_FAILED.
    """
    return broker.runner.run(_counts(group_id, since, until))


async def error_counts_async(
    broker: Broker, group_id: int, since: datetime, until: datetime
) -> BrokerResult[tuple[ErrorCount, ...]]:
    """Like `error_counts`, for asyncio."""
    return await broker.runner.run_async(_counts(group_id, since, until))


def _errors(
    since: datetime, until: datetime, task_name: str | None, error_code: str | None, limit: int
) -> Operation[BrokerResult[ErrorGroups]]:
    if (wrong := wrong_limit(limit, 1, _MOST_GROUPS)) is not None:
        return wrong

    def decoded(rows: list[ErrorGroupRow]) -> ErrorGroups:
        state = rows[0] if rows else None
        return ErrorGroups(
            groups=tuple(_group(row.id, row) for row in rows[:limit] if row.id is not None),
            known_since=None if state is None else state.errors_since,
            known_until=None if state is None else state.errors_until,
            as_of=None if state is None else state.clock,
            is_complete=len(rows) <= limit,
        )

    call = error_queries.error_groups(since, until, task_name, error_code, limit + 1)
    return (yield from answered(call)).map(decoded)


def _group(group_id: int, row: ErrorGroupRow) -> ErrorGroup:
    return ErrorGroup(
        group_id=group_id,
        task_name=row.task_name,
        error_code=row.error_code,
        frame=row.frame or None,
        message=row.message,
        is_other=row.is_other,
        first_seen=row.first_seen,
        last_seen=row.last_seen,
        example_id=str(row.example_id),
        number=row.number,
        new_in=row.new_in,
    )


def _counts(group_id: int, since: datetime, until: datetime) -> Operation[BrokerResult[tuple[ErrorCount, ...]]]:
    def decoded(rows: list[ErrorCountRow]) -> tuple[ErrorCount, ...]:
        return tuple(
            ErrorCount(row.hour, row.library_version or None, row.app_version or None, row.number) for row in rows
        )

    return (yield from answered(error_queries.error_counts(group_id, since, until, _MOST_COUNTS))).map(decoded)
