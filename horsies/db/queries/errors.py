"""Calls for error groups."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from horsies.db.operations import Call, many


class ErrorGroupRow(NamedTuple):
    """A row of `horsies.error_groups`. Without groups, all columns after ``clock`` are None."""

    errors_since: datetime
    errors_until: datetime
    clock: datetime
    id: int | None
    task_name: str
    error_code: str
    frame: str
    message: str
    is_other: bool
    first_seen: datetime
    last_seen: datetime
    example_id: UUID
    number: int
    new_in: str | None


class ErrorCountRow(NamedTuple):
    """A row of `horsies.error_counts`; an empty version is unknown."""

    hour: datetime
    library_version: str
    app_version: str
    number: int


def error_groups(
    since: datetime, until: datetime, name: str | None, code: str | None, limit: int
) -> Call[list[ErrorGroupRow]]:
    """Return error groups with failures in these hours, those with the most failures first."""
    sql = "select * from horsies.error_groups(%s::timestamptz, %s::timestamptz, %s, %s, %s)"
    return Call(sql, (since, until, name, code, limit), many(ErrorGroupRow))


def error_counts(group: int, since: datetime, until: datetime, limit: int) -> Call[list[ErrorCountRow]]:
    """Return the failures of an error group by hour and version, the earliest first."""
    sql = "select * from horsies.error_counts(%s::bigint, %s::timestamptz, %s::timestamptz, %s)"
    return Call(sql, (group, since, until, limit), many(ErrorCountRow))
