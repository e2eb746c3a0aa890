"""One frame of ``horsies top``: for pipes, for ``--once``, and for installations without Textual."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from horsies.monitoring import ErrorGroups, Run
from horsies.monitoring.answers import TaskPage
from horsies.monitoring.broker import Broker
from horsies.monitoring.filters import TaskQuery
from horsies.monitoring.summary import busiest_first
from horsies.producer.handle import BrokerResult
from horsies.top.listings import queue_listing, run_listing, task_listing, worker_listing
from horsies.top.overview import all_well, figures_part, head, heading, problem_text, problems_of
from horsies.top.reading import Overview, Reader, as_result
from horsies.top.tables import Listing, rich_table

_MOST_ROWS = 10


@dataclass(frozen=True, slots=True)
class Whole:
    """Everything that the tabs of the live view show.

    Attributes:
        overview: The overview.
        tasks: The latest tasks that match the filter.
        errors: The most frequent errors of the last day.
        runs: The latest workflow runs.
    """

    overview: Overview
    tasks: TaskPage
    errors: ErrorGroups
    runs: tuple[Run, ...]

    @property
    def as_of(self) -> datetime:
        """When the first question was asked."""
        return self.overview.as_of


async def read_whole(broker: Broker, query: TaskQuery, most_tasks: int) -> BrokerResult[Whole]:
    """Ask all questions once."""
    reader = Reader(broker)

    async def ask() -> Whole:
        return Whole(
            overview=await reader.overview(),
            tasks=await reader.tasks(query, most_tasks),
            errors=await reader.errors(),
            runs=await reader.runs(),
        )

    return await as_result(ask())


def frame(whole: Whole, wanted: str, database: str, width: int, *, draws_bars: bool) -> Group:
    """Lay out a frame.

    Args:
        whole: The answers.
        wanted: The filter of the tasks; empty: there is none.
        database: The URL of the database, without its password.
        width: The number of cells in a line.
        draws_bars: Whether the output can show block characters.
    """
    problems = problems_of(whole.overview)
    tasks = f"Tasks that match {wanted}" if wanted else "Latest tasks"
    return Group(
        head("horsies top", database, whole.as_of, width),
        Text(),
        *(map(problem_text, problems) if problems else [all_well(whole.overview)]),
        Text(),
        figures_part(whole.overview, width, draws_bars=draws_bars),
        *_part("Queues", queue_listing(busiest_first(whole.overview.queues)), width),
        *_part(tasks, task_listing(whole.tasks, wanted), width),
        *_part("Workflow runs", run_listing(whole.runs), width),
        *_part("Workers", worker_listing(whole.overview.workers), width),
    )


def _part(title: str, listing: Listing, width: int) -> list[RenderableType]:
    parts: list[RenderableType] = [heading(title), rich_table(listing.first(_MOST_ROWS), width)]
    if len(listing.rows) > _MOST_ROWS:
        parts.append(Text(f"and {len(listing.rows) - _MOST_ROWS:,} more", style="dim"))
    return parts


def document(whole: Whole, wanted: str) -> dict[str, Any]:
    """Return the answers for a JSON document. Their fields are those of `horsies.monitoring`."""
    overview = whole.overview
    return {
        "as_of": whole.as_of,
        "filter": wanted,
        "problems": problems_of(overview),
        "queues": overview.queues,
        "workers": overview.workers,
        "waiting_reasons": overview.reasons,
        "throughput": overview.samples,
        "errors": whole.errors,
        "runs": whole.runs,
        "tasks": whole.tasks.tasks,
        "next_before": whole.tasks.next_before,
    }
