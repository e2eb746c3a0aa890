"""The list of workflow runs."""

from dataclasses import dataclass

from horsies.codes import WorkflowStatus
from horsies.monitoring import RunCount, RunDetails, find_runs_async, run_counts_async
from horsies.monitoring.run_details import parse_place
from horsies.web.charts import Segment, shares
from horsies.web.parameters import refuse
from horsies.web.visit import Visit
from horsies.workflows.definition import definitions

_LIMIT = 50
_MOST = 500
_COUNTS_AGE_S = 5.0
_STATUSES = tuple(each for each in WorkflowStatus if each is not WorkflowStatus.PENDING)


@dataclass(frozen=True, slots=True)
class RunLine:
    """A workflow run in the list.

    Attributes:
        run: The run.
        bar: Its nodes by how they ended, and those that have not.
    """

    run: RunDetails
    bar: tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class Runs:
    """The data of the page.

    Attributes:
        status: The state of the listed runs; None: any.
        workflow: The name or the definition key of their workflow, with ``*`` for any characters; empty: any.
        runs: The runs, the most recently started first.
        next_before: The parameter ``before`` of the next page; None: this is the last one.
        is_cut: Whether the search ended because the latest 100,000 runs were searched.
        counts: The numbers of runs that have not ended, and of those that ended in the last hour, by state.
        statuses: All states, for the choice.
        names: Names and definition keys that this process knows, for the completion.
        limit: The largest number of runs on a page.
    """

    status: WorkflowStatus | None
    workflow: str
    runs: tuple[RunLine, ...]
    next_before: str | None
    is_cut: bool
    counts: dict[str, RunCount]
    statuses: tuple[WorkflowStatus, ...]
    names: tuple[str, ...]
    limit: int


async def load(visit: Visit) -> Runs:
    """Read the page."""
    choices = {each.value.lower(): each for each in _STATUSES}
    status = visit.parameters.choice("status", choices, default=None)
    workflow = visit.parameters.text("workflow")
    before = visit.parameters.text("before") or None
    limit = visit.parameters.number("limit", _LIMIT, 1, _MOST)
    if before is not None and parse_place(before) is None:
        refuse("before must be the next_before of another page")
    found = await visit.ask(
        "runs",
        lambda broker: find_runs_async(broker, status=status, workflow=workflow or None, before=before, limit=limit),
        status,
        workflow,
        before,
        limit,
    )
    counts = await visit.ask("run counts", run_counts_async, max_age_s=_COUNTS_AGE_S)
    return Runs(
        status=status,
        workflow=workflow,
        runs=tuple(RunLine(each, progress_bar(each)) for each in found.runs),
        next_before=found.next_before,
        is_cut=found.is_cut,
        counts={each.status.value: each for each in counts},
        statuses=_STATUSES,
        names=tuple(sorted({name for key, each in definitions().items() for name in (key, each.name) if name})),
        limit=limit,
    )


def progress_bar(run: RunDetails) -> tuple[Segment, ...]:
    """Lay out the nodes of a run by how they ended, in percent."""
    parts = (
        ("completed", "completed", run.completed),
        ("failed", "failed", run.failed),
        ("cancelled", "skipped", run.skipped),
        ("free", "not ended", run.nodes - run.ended),
    )
    return shares([(kind, f"{number:,} {words}", number) for kind, words, number in parts])
