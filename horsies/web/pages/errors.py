"""The errors: groups of failed attempts, those that are new, and retry storms."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from horsies.monitoring import (
    ErrorCount,
    ErrorGroup,
    ErrorGroups,
    Throughput,
    error_counts_async,
    errors_async,
)
from horsies.monitoring.filters import term
from horsies.monitoring.storms import Storm, find_storms
from horsies.web.access import Right
from horsies.web.charts import StackedChart, stacked_counts
from horsies.web.pages import common
from horsies.web.pages.task import Failure, failure_of, read_task
from horsies.web.visit import Visit

_HOUR = timedelta(hours=1)
_PERIODS = {"1h": _HOUR, "24h": 24 * _HOUR, "7d": 7 * 24 * _HOUR}
_LEAST_CHART_HOURS = 24
_ASKED = 1000
_SHOWN = 100
_MOST_FACETS = 6
_MOST_CODE = 200
_LARGEST_ID = 2**63 - 1
_AGE_S = 5.0


@dataclass(frozen=True, slots=True)
class ErrorLine:
    """An error group in the list.

    Attributes:
        group: The group.
        share: Its part of all failed attempts of the period, in percent.
        filter: The filter of the failed tasks of the group. It does not tell messages apart.
    """

    group: ErrorGroup
    share: float
    filter: str


@dataclass(frozen=True, slots=True)
class Facet:
    """A task or a code that several groups have.

    Attributes:
        value: The name of the task, or the code.
        number: How many attempts failed.
    """

    value: str
    number: int


@dataclass(frozen=True, slots=True)
class VersionLine:
    """How often a group has failed with one version of the app.

    Attributes:
        app_version: The version of the app; None: unknown.
        library_version: The version of horsies; None: unknown.
        first_hour: The first hour in which an attempt with it failed, in the time of the chart.
        number: How many attempts failed.
        x: The place of this hour in the chart, in percent of its width.
    """

    app_version: str | None
    library_version: str | None
    first_hour: datetime
    number: int
    x: float


@dataclass(frozen=True, slots=True)
class ChosenGroup:
    """More about the group that the URL names.

    Attributes:
        line: The group; None: it has no failures in the period.
        chart: Its failed attempts by hour.
        hours: The number of hours in the chart.
        versions: Its failed attempts by version, the one that failed first first.
        example: The error of the task whose attempt failed last; None: its record was deleted, or it has no error now.
        shows_traceback: Whether the user may see tracebacks.
    """

    line: ErrorLine | None
    chart: StackedChart
    hours: int
    versions: tuple[VersionLine, ...]
    example: Failure | None
    shows_traceback: bool


@dataclass(frozen=True, slots=True)
class Errors:
    """The data of the page.

    Attributes:
        period: The name of the period: ``1h``, ``24h`` or ``7d``. The whole hour of its begin is included.
        periods: The names of all periods.
        task: The name of the task whose errors are shown; empty: those of all tasks.
        code: The code whose errors are shown; empty: all codes.
        only_new: Whether only groups are shown that a new version of the app has brought.
        groups: The groups, those with the most failed attempts first.
        failed: How many attempts failed in all groups.
        new: How many groups a new version of the app has brought.
        more_groups: How many groups are not listed, at least.
        known_since: Failures are counted from this time on; None: they are not counted yet.
        known_until: The end of the last minute that is counted; None: none is.
        tasks: The tasks with the most failed attempts.
        codes: The codes with the most failed attempts.
        storms: The tasks of which most attempts are retried.
        chosen: More about one group; None: the URL names none.
    """

    period: str
    periods: tuple[str, ...]
    task: str
    code: str
    only_new: bool
    groups: tuple[ErrorLine, ...]
    failed: int
    new: int
    more_groups: int
    known_since: datetime | None
    known_until: datetime | None
    tasks: tuple[Facet, ...]
    codes: tuple[Facet, ...]
    storms: tuple[Storm, ...]
    chosen: ChosenGroup | None


async def load(visit: Visit) -> Errors:
    """Read the page."""
    period = visit.parameters.choice("period", {name: name for name in _PERIODS}, "24h")
    task, code = visit.parameters.exact("task"), visit.parameters.exact("code")
    only_new = visit.parameters.choice("new", {"1": True}, default=False)
    found, samples = await _groups(visit, period, task, code), await common.last_hour(visit)
    failed = sum(each.number for each in found.groups)
    lines = tuple(_line(each, failed, period) for each in found.groups)
    new = [each for each in lines if each.group.new_in is not None]
    listed = new if only_new else lines
    return Errors(
        period=period,
        periods=tuple(_PERIODS),
        task=task,
        code=code,
        only_new=only_new,
        groups=tuple(listed[:_SHOWN]),
        failed=failed,
        new=len(new),
        more_groups=max(len(listed) - _SHOWN, 0),
        known_since=found.known_since,
        known_until=found.known_until,
        tasks=_facets([(each.task_name, each.number) for each in found.groups]),
        codes=_facets([(each.error_code, each.number) for each in found.groups]),
        storms=_storms(samples, task),
        chosen=await _chosen(visit, period, lines),
    )


async def _groups(visit: Visit, period: str, task: str, code: str) -> ErrorGroups:
    now = datetime.now(UTC)
    return await visit.ask(
        "error groups",
        lambda broker: errors_async(
            broker, now - _PERIODS[period], now, task_name=task or None, error_code=code or None, limit=_ASKED
        ),
        period,
        task,
        code,
        max_age_s=_AGE_S,
    )


def _line(group: ErrorGroup, failed: int, period: str) -> ErrorLine:
    terms = ["status:failed", term("task", group.task_name)]
    if not (group.is_other and group.error_code == "other") and len(group.error_code) < _MOST_CODE:
        terms.append(term("error", group.error_code))
    return ErrorLine(group, round(100 * group.number / (failed or 1), 2), " ".join([*terms, f"since:{period}"]))


def _facets(numbers: Sequence[tuple[str, int]]) -> tuple[Facet, ...]:
    sums = Counter[str]()
    for value, number in numbers:
        sums[value] += number
    return tuple(Facet(value, number) for value, number in sums.most_common(_MOST_FACETS))


def _storms(samples: Throughput, task: str) -> tuple[Storm, ...]:
    return tuple(each for each in find_storms(samples) if task in {"", each.task_name})


async def _chosen(visit: Visit, period: str, lines: Sequence[ErrorLine]) -> ChosenGroup | None:
    group_id = visit.parameters.number("group", 0, 1, _LARGEST_ID)
    if not group_id:
        return None
    line = next((each for each in lines if each.group.group_id == group_id), None)
    hours = max(_PERIODS[period] // _HOUR, _LEAST_CHART_HOURS)
    now = datetime.now(UTC)
    first = now.replace(minute=0, second=0, microsecond=0) - (hours - 1) * _HOUR
    counts: tuple[ErrorCount, ...] = ()
    if line is not None:
        counts = await visit.ask(
            "error counts",
            lambda broker: error_counts_async(broker, group_id, first, now),
            group_id,
            first.timestamp(),
            max_age_s=_AGE_S,
        )
    sees = visit.user.may(Right.SEE_ARGUMENTS)
    example = None if line is None else await _example(visit, line.group.example_id)
    return ChosenGroup(line, _chart(counts, first, hours), hours, _versions(counts, first, hours), example, sees)


async def _example(visit: Visit, task_id: str) -> Failure | None:
    found = await read_task(visit, task_id)
    return None if found is None else failure_of(found[0])


def _chart(counts: Sequence[ErrorCount], first: datetime, hours: int) -> StackedChart:
    numbers = [{"failed": 0} for _ in range(hours)]
    for each in counts:
        place = (each.hour - first) // _HOUR
        if 0 <= place < hours:
            numbers[place]["failed"] += each.number
    return stacked_counts(numbers, first, _HOUR)


def _versions(counts: Sequence[ErrorCount], first: datetime, hours: int) -> tuple[VersionLine, ...]:
    found: dict[tuple[str | None, str | None], list[ErrorCount]] = {}
    for each in counts:
        found.setdefault((each.app_version, each.library_version), []).append(each)
    return tuple(
        VersionLine(
            app_version=app,
            library_version=library,
            first_hour=same[0].hour,
            number=sum(each.number for each in same),
            x=round(100 * ((same[0].hour - first) / _HOUR) / hours, 3),
        )
        for (app, library), same in found.items()
    )
