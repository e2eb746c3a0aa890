"""Calls for lists of workflow runs, for what is known about one of them, and about its nodes."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from horsies.db.operations import Call, Rows, first, many


class RunFactsRow(NamedTuple):
    """A row of `horsies.run_facts`."""

    run_id: UUID
    name: str
    definition_key: str
    status: str
    on_error: str
    parent_id: UUID | None
    parent_node: str | None
    total: int
    completed: int
    failed: int
    skipped: int
    failed_node: str | None
    error: bytes | None
    started_at: datetime
    finished_at: datetime | None


class RunNodeRow(NamedTuple):
    """A row of `horsies.run_nodes`."""

    node_index: int
    node_id: str
    kind: str
    task_name: str
    queue: str
    status: str
    error_code: str | None
    waits_for: list[int]
    needed: int | None
    task_id: UUID | None
    child_id: UUID | None
    child_status: str | None
    child_total: int | None
    child_ended: int | None
    items: int | None
    open_items: int | None
    started_at: datetime | None
    finished_at: datetime | None


class RunOfTaskRow(NamedTuple):
    """A row of `horsies.run_of_task`."""

    run_id: UUID
    name: str
    node_id: str
    item: int | None


class RunPlace(NamedTuple):
    """A place in the list of runs: the runs that follow it were started earlier, or have a smaller id."""

    started_at: datetime
    run_id: UUID


class FoundRuns(NamedTuple):
    """A page of runs, the place where the search continues, and whether it ended at the limit of searched runs."""

    runs: list[RunFactsRow]
    next_place: RunPlace | None
    is_cut: bool


def find_runs(status: str | None, name: str | None, before: RunPlace | None, limit: int) -> Call[FoundRuns]:
    """Return runs by status and by a pattern of LIKE for the name or the key (None: any), latest started first."""
    sql = (
        "select found.next_at, found.next_id, found.is_cut, facts.*"
        " from horsies.find_runs(%s::text, %s::text, %s::timestamptz, %s::uuid, %s::int) as found"
        " left join lateral unnest(found.ids) with ordinality as each (id, place) on true"
        " left join lateral horsies.run_facts(each.id, false) as facts on true order by each.place"
    )
    place = (None, None) if before is None else before
    return Call(sql, (status, name, *place, limit), _found)


def _found(rows: Rows) -> FoundRuns:
    next_at, next_id, is_cut = rows[0][:3]
    runs = [RunFactsRow(*row[3:]) for row in rows if row[3] is not None]
    return FoundRuns(runs, None if next_at is None else RunPlace(next_at, next_id), is_cut)


def run_facts(run_id: UUID) -> Call[RunFactsRow | None]:
    """Return what is known about a run, with its error; None: there is no such run."""
    return Call("select * from horsies.run_facts(%s, true)", (run_id,), first(RunFactsRow))


def run_nodes(run_id: UUID) -> Call[list[RunNodeRow]]:
    """Return the nodes of a run in the order of its spec."""
    return Call("select * from horsies.run_nodes(%s)", (run_id,), many(RunNodeRow))


def run_of_task(task_id: UUID) -> Call[RunOfTaskRow | None]:
    """Return the run to which a task belongs; None: it belongs to none."""
    return Call("select * from horsies.run_of_task(%s)", (task_id,), first(RunOfTaskRow))
