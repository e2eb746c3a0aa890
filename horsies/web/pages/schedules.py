"""The schedules: when they run and ran, whether they are late, and whether their runs overlap."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from horsies.config.schedules import TaskSchedule
from horsies.db.queries.schedules import due_id
from horsies.monitoring import ScheduleStatus, Throughput, all_tasks_async, total
from horsies.monitoring.filters import FilterField, FilterTerm, TaskQuery
from horsies.producer.handle import BrokerResult
from horsies.producer.info import TaskInfo
from horsies.result import Ok
from horsies.web.calendar import CalendarFrame, Lane, Run, frame_of, lane
from horsies.web.formats import duration
from horsies.web.pages import common
from horsies.web.schedule_times import DueTimes, clock_note, due_times, in_zone
from horsies.web.visit import Visit

_LATE_S = 10.0
_MOST_TIMES = 60
_MOST_UPCOMING = 10
_MOST_COMPUTED = 100
_MOST_RUNS = 12
_MOST_LOOKUPS = 100
_WORTH_COMPARING = 5
_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Plan:
    """The due times and the words that follow from the pattern of a schedule.

    Attributes:
        near: Its due times in the calendar.
        upcoming: Its next due times.
        recent: Its due times until its last run, the latest ones, the earliest first.
        clock_note: How the next change of the clocks affects it; None: it does not.
    """

    near: DueTimes
    recent: tuple[datetime, ...]
    upcoming: tuple[datetime, ...]
    clock_note: str | None


@dataclass(frozen=True, slots=True)
class ScheduleLine:
    """A schedule in the list.

    Attributes:
        status: Its state in the database.
        late_s: For how many seconds it is late; None: it is in time.
        plan: What its pattern says; None: this app does not have it as the database does, so that only the next due
            time is known.
        overlap: A sentence about runs that overlap, or may do so; None: there is none.
        runs: Its latest runs, the latest first.
        lane: Its due times and runs in the calendar.
    """

    status: ScheduleStatus
    late_s: float | None
    plan: Plan | None
    overlap: str | None
    runs: tuple[Run, ...]
    lane: Lane


@dataclass(frozen=True, slots=True)
class Chosen:
    """More about the schedule that the URL names.

    Attributes:
        name: Its name.
        line: The schedule; None: the database does not know it.
        upcoming: Its next due times, each also in its time zone.
    """

    name: str
    line: ScheduleLine | None
    upcoming: tuple[tuple[datetime, str], ...]


@dataclass(frozen=True, slots=True)
class SchedulesPage:
    """The data of the page.

    Attributes:
        view: The name of the calendar: ``day`` or ``week``.
        frame: The range of the calendar.
        schedules: The schedules, in the order of their names.
        declares_schedules: Whether this app has schedules.
        chosen: More about one schedule; None: the URL names none.
    """

    view: str
    frame: CalendarFrame
    schedules: tuple[ScheduleLine, ...]
    declares_schedules: bool
    chosen: Chosen | None


async def load(visit: Visit) -> SchedulesPage:
    """Read the page."""
    view = visit.parameters.choice("view", {"day": "day", "week": "week"}, "day")
    name = visit.parameters.exact("schedule")
    known, samples = await common.schedules(visit), await common.last_hour(visit)
    now = known[0].as_of if known else datetime.now(UTC)
    frame = frame_of(view, now)
    plans = await _plans(visit, known, frame)
    runs = await _runs(visit, known, plans, frame)
    lines = tuple(_line(each, plans.get(each.name), runs.get(each.name, ()), samples, frame) for each in known)
    return SchedulesPage(
        view=view,
        frame=frame,
        schedules=lines,
        declares_schedules=bool(visit.schedules),
        chosen=_chosen(name, lines) if name else None,
    )


async def _plans(visit: Visit, known: Sequence[ScheduleStatus], frame: CalendarFrame) -> dict[str, Plan]:
    """Evaluate the patterns. All viewers share the result for a minute, and patterns are evaluated in a thread."""
    facts = tuple((each.name, each.pattern, each.timezone, each.next_run_at, each.paused) for each in known)

    async def compute(_broker: object) -> BrokerResult[dict[str, Plan]]:
        return Ok(await asyncio.to_thread(_evaluate, visit.schedules, known, frame))

    return await visit.ask(
        "due times", compute, frame.first.timestamp(), frame.until.timestamp(), hash(facts), max_age_s=60.0
    )


def _evaluate(
    declared: Sequence[TaskSchedule], known: Sequence[ScheduleStatus], frame: CalendarFrame
) -> dict[str, Plan]:
    by_name = {each.name: each for each in declared}
    found: dict[str, Plan] = {}
    for status in known[:_MOST_COMPUTED]:
        schedule = by_name.get(status.name)
        if schedule is not None and status.next_run_at is not None and _is_same(schedule, status):
            found[status.name] = _plan(schedule, status, status.next_run_at, frame)
    return found


def _is_same(schedule: TaskSchedule, status: ScheduleStatus) -> bool:
    """Return whether the app has the schedule as the database does. A scheduler may have another version of the app."""
    own = (schedule.pattern.describe(), schedule.timezone, schedule.task_name)
    return own == (status.pattern, status.timezone, status.task_name)


def _plan(schedule: TaskSchedule, status: ScheduleStatus, following: datetime, frame: CalendarFrame) -> Plan:
    zone = schedule.zone
    near = due_times(schedule.pattern, zone, following, frame.first, frame.until, _MOST_TIMES)
    at, upcoming = following.astimezone(zone), [following]
    while len(upcoming) < _MOST_UPCOMING:
        at = schedule.pattern.next_after(at)
        upcoming.append(at.astimezone(UTC))
    last = status.last_run_at
    recent: tuple[datetime, ...] = ()
    if last is not None and near.is_cut:
        first = max(last - (upcoming[-1] - upcoming[0]), frame.first)
        recent = due_times(schedule.pattern, zone, following, first, last + _INSTANT, _MOST_TIMES).times
    elif last is not None:
        recent = tuple(each for each in near.times if each <= last)
    return Plan(near, recent, tuple(upcoming), clock_note(schedule.pattern, zone, status.as_of))


async def _runs(
    visit: Visit, known: Sequence[ScheduleStatus], plans: Mapping[str, Plan], frame: CalendarFrame
) -> dict[str, tuple[Run, ...]]:
    """Return the latest runs of each schedule. The due time of a run says the id of its task."""
    wanted: list[tuple[ScheduleStatus, datetime, str]] = []
    for status in known:
        wanted += _wanted(status, plans.get(status.name), frame)[: max(_MOST_LOOKUPS - len(wanted), 0)]
    ids = sorted({task_id for _, _, task_id in wanted})
    tasks = await _tasks(visit, ids) if ids else {}
    found: dict[str, list[Run]] = {}
    for status, due, task_id in wanted:
        found.setdefault(status.name, []).append(_run(due, tasks.get(task_id)))
    return {name: tuple(sorted(runs, key=lambda each: each.due, reverse=True)) for name, runs in found.items()}


def _wanted(
    status: ScheduleStatus, plan: Plan | None, frame: CalendarFrame
) -> list[tuple[ScheduleStatus, datetime, str]]:
    """Return the due times of a schedule at which it may have run, the latest first, with the ids of the tasks."""
    last = status.last_run_at
    if last is None or last < frame.first or status.last_task_id is None:
        return []
    past = () if plan is None else plan.recent
    most = min(status.run_count, _MOST_RUNS)
    runs = [(status, due, str(due_id(status.name, due))) for due in past[::-1][:most]]
    if status.last_task_id not in {task_id for _, _, task_id in runs}:
        runs.insert(0, (status, last, status.last_task_id))  # somebody ran it at another time
    return runs


async def _tasks(visit: Visit, ids: Sequence[str]) -> dict[str, TaskInfo]:
    query = TaskQuery(tuple(FilterTerm(FilterField.ID, each) for each in ids))

    found = await visit.ask(
        "runs of schedules",
        lambda broker: all_tasks_async(broker, query, limit=len(ids)),
        ",".join(ids),
        max_age_s=2.0,
    )
    return {each.task_id: each for each in found.tasks}


def _run(due: datetime, task: TaskInfo | None) -> Run:
    if task is None:
        return Run(due, None, None, None, None)
    start, end = task.started_at, task.ended_at
    return Run(
        due=due,
        task_id=task.task_id,
        status=str(task.status),
        late_s=None if start is None or task.retry_count else max((start - due).total_seconds(), 0.0),
        ran_s=None if start is None or end is None else (end - start).total_seconds(),
    )


def _line(
    status: ScheduleStatus, plan: Plan | None, runs: tuple[Run, ...], samples: Throughput, frame: CalendarFrame
) -> ScheduleLine:
    late = status.late_by.total_seconds()
    upcoming = [] if status.next_run_at is None else [status.next_run_at]
    near = DueTimes(tuple(upcoming), is_cut=False) if plan is None else plan.near
    return ScheduleLine(
        status=status,
        late_s=late if late > _LATE_S else None,
        plan=plan,
        overlap=_overlap(status, plan, runs, samples),
        runs=runs,
        lane=lane(frame, near, runs, status),
    )


def _overlap(status: ScheduleStatus, plan: Plan | None, runs: Sequence[Run], samples: Throughput) -> str | None:
    """Say whether runs overlap: because several are live now, or because they take longer than their distance."""
    live = sum(each.is_live for each in runs)
    if live > 1:
        return f"{live} of its runs have not ended, so they overlap."
    whole = total(each for each in samples.samples if each.task_name == status.task_name)
    p95 = None if whole is None or whole.runs.total < _WORTH_COMPARING else whole.runs.percentile(0.95)
    gaps = [] if plan is None else [later - earlier for earlier, later in pairwise(plan.upcoming)]
    shortest = min(gaps, default=timedelta(0)).total_seconds()
    if p95 is None or not shortest or p95 < shortest:
        return None
    return (
        f"Runs may overlap: one in twenty of such tasks took {duration(p95)} or longer in the last hour, "
        f"and {duration(shortest)} may lie between two runs."
    )


def _chosen(name: str, lines: Sequence[ScheduleLine]) -> Chosen:
    line = next((each for each in lines if each.status.name == name), None)
    if line is None or line.plan is None:
        times = () if line is None or line.status.next_run_at is None else (line.status.next_run_at,)
        return Chosen(name, line, tuple(zip(times, in_zone(times, UTC), strict=True)))
    words = in_zone(line.plan.upcoming, ZoneInfo(line.status.timezone))
    return Chosen(name, line, tuple(zip(line.plan.upcoming, words, strict=True)))
