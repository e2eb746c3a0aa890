"""The overview in a terminal: problems, the figures of the system, and why tasks wait."""

from collections.abc import Sequence
from datetime import datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from horsies.monitoring import total
from horsies.monitoring.problems import Facts, Problem, Severity, find_problems
from horsies.monitoring.reasons import Concern
from horsies.monitoring.summary import (
    CHART_MINUTES,
    Durations,
    by_reason,
    ended,
    ended_by_minute,
    ended_so_far,
    live,
    longest_due,
    percentiles,
    slots,
    sum_counts,
)
from horsies.monitoring.texts import counted, duration, line, number, utc
from horsies.top.listings import NOTHING, error_listing
from horsies.top.reading import Overview
from horsies.top.tables import Column, Listing, Row, Style, cell, rich_table

type Figure = tuple[str, Text]
"""A label and its value."""

_BARS = "▁▂▃▄▅▆▇█"
_WIDE = 100
_CONCERNS = {Concern.NONE: Style.PLAIN, Concern.LIMIT: Style.WARNING, Concern.BLOCKED: Style.BAD}


def problems_of(overview: Overview) -> tuple[Problem, ...]:
    """Return what is not well, the worst first."""
    return find_problems(Facts(overview.queues, overview.workers, overview.reasons, overview.samples))


def problem_text(problem: Problem) -> Text:
    """Return a problem with its remedy, in words that say how bad it is."""
    style = Style.BAD if problem.severity is Severity.CRITICAL else Style.WARNING
    return Text.assemble(
        (f"{problem.severity.upper()}  ", style),
        (line(problem.sentence), Style.TITLE),
        f" {line(problem.remedy)}",
    )


def all_well(overview: Overview) -> Text:
    """Return the sentence that there are no problems."""
    workers = counted(len(live(overview.workers)), "worker")
    return Text.assemble(("All is well. ", Style.GOOD), f"{workers} live, and nothing needs attention.")


def figures_of(overview: Overview) -> list[Figure]:
    """Return the figures of the overview."""
    now = overview.as_of
    hour = total(overview.samples.samples)
    oldest = longest_due(overview.queues)
    scheduled = sum_counts([each.scheduled for each in overview.queues], now)
    waiting = number(sum_counts([each.waiting for each in overview.queues], now))
    later = f"{number(scheduled)} more scheduled" if scheduled.number else "none scheduled for later"
    running, places = sum(each.running for each in overview.queues), slots(overview.workers)
    due = "no task is due"
    if oldest is not None:
        due = f"{duration(oldest.oldest_due)} in {line(oldest.queue_name, 40)}"
    return [
        ("Waiting", cell(f"{waiting}, {later}")),
        ("Running", cell(f"{running:,} of {counted(places, 'slot')}", Style.BUSY if running else Style.PLAIN)),
        ("Oldest due", cell(due)),
        ("Workers", cell(f"{len(live(overview.workers)):,} live", Style.PLAIN if places else Style.BAD)),
        ("Last hour", _last_hour(overview)),
        ("Waited", cell(_durations(percentiles(None if hour is None else hour.waits)))),
        ("Ran", cell(_durations(percentiles(None if hour is None else hour.runs)))),
    ]


def _last_hour(overview: Overview) -> Text:
    if overview.samples.known_until is None:
        return cell("unknown: a worker counts each minute after its end", Style.QUIET)
    hour = total(overview.samples.samples)
    if hour is None:
        return cell(f"0 ended, counted until {utc(overview.samples.known_until)[11:16]} UTC{_so_far(overview)}")
    failed = f"{hour.failed:,} failed" if hour.failed else "none failed"
    retried = f", {hour.retried:,} retried" if hour.retried else ""
    text = Text(f"{ended(hour):,} ended, ")
    return text.append(failed, Style.BAD if hour.failed else Style.PLAIN).append(retried).append(_so_far(overview))


def _so_far(overview: Overview) -> str:
    found = ended_so_far(overview.samples)
    return "" if found is None else f"; since {utc(found[0])[11:16]} UTC {found[1]:,} more so far"


def _durations(values: Durations) -> str:
    if values.p50 is None:
        return NOTHING
    return f"half within {duration(values.p50)}, 95 % within {duration(values.p95)}"


def figures_table(figures: Sequence[Figure], width: int) -> Table:
    """Lay out figures, in two columns if there is room."""
    per_row = 2 if width >= _WIDE else 1
    rows = -(-len(figures) // per_row)
    table = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(per_row):
        table.add_column(no_wrap=True, style=Style.QUIET)
        table.add_column(ratio=1, overflow="fold")
    for index in range(rows):
        parts = [
            each for column in range(per_row) for each in figures[index + column * rows : index + column * rows + 1]
        ]
        table.add_row(*(part for label, value in parts for part in (label, value)))
    return table


def spark(values: Sequence[int], width: int) -> str:
    """Draw numbers as a line of bars. In a narrow terminal, adjacent numbers are added."""
    each = 1 if len(values) <= width else -(-len(values) // max(width, 1))
    sums = [sum(values[index : index + each]) for index in range(0, len(values), each)]
    top = max(sums, default=0)
    return "".join("·" if not value else _BARS[min(value * len(_BARS) // (top + 1), len(_BARS) - 1)] for value in sums)


def chart(overview: Overview, width: int, *, draws_bars: bool) -> RenderableType | None:
    """Return how many tasks ended in each of the last 60 minutes; None: none did, or bars cannot be printed."""
    numbers = ended_by_minute(overview.samples, overview.begin)
    sums = [sum(minute) for minute in zip(*numbers.values(), strict=True)]
    if not draws_bars or not any(sums):
        return None
    title = f"Ended by minute, the last {CHART_MINUTES} minutes; at most {max(sums):,}"
    return Group(heading(title), Text(spark(sums, width), style=Style.BUSY, no_wrap=True))


def reason_listing(overview: Overview) -> Listing:
    """List why tasks wait."""
    columns = (Column("WHY TASKS WAIT"), Column("TASKS", is_number=True), Column("WHAT HELPS", 1))
    rows = tuple(
        Row(
            each.reason,
            (cell(each.words.label, _CONCERNS[each.words.concern]), cell(number(each.tasks)), cell(each.words.remedy)),
        )
        for each in by_reason(overview.reasons, overview.as_of)
    )
    return Listing(columns, rows, "No task waits.")


def heading(title: str) -> Text:
    """Return the title of a part."""
    return Text(f"\n{title}", style=Style.TITLE)


def figures_part(overview: Overview, width: int, *, draws_bars: bool) -> Group:
    """Return the overview without its problems.

    Args:
        overview: The answers.
        width: The number of cells in a line.
        draws_bars: Whether the output can show block characters.
    """
    parts: list[RenderableType] = [figures_table(figures_of(overview), width)]
    minutes = chart(overview, width, draws_bars=draws_bars)
    if minutes is not None:
        parts.append(minutes)
    parts += [Text(), rich_table(reason_listing(overview), width)]
    parts += [heading("Most frequent errors of the last hour"), rich_table(error_listing(overview.errors), width)]
    return Group(*parts)


def head(title: str, database: str, as_of: datetime, width: int) -> Text:
    """Return the first line: the program, the database, and the time of the data."""
    time = f"{utc(as_of)} UTC"
    place = cell(database)
    place.truncate(max(width - len(title) - len(time) - 4, 8), overflow="ellipsis")
    return Text.assemble((title, Style.TITLE), "  ", place, "  ", (time, Style.QUIET))
