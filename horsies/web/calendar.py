"""The geometry of the calendar of schedules: a lane for each schedule, with its runs and its next due times."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from horsies.codes import TASK_TERMINAL_STATES, TaskStatus
from horsies.monitoring import ScheduleStatus
from horsies.web.schedule_times import DueTimes

_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)
_ENDED = frozenset(map(str, TASK_TERMINAL_STATES))


@dataclass(frozen=True, slots=True)
class Tick:
    """A line of the calendar with its label.

    Attributes:
        x: Its place, in percent of the width.
        label: The time, or the day, in UTC.
    """

    x: float
    label: str


@dataclass(frozen=True, slots=True)
class CalendarFrame:
    """The range of a calendar.

    Attributes:
        first: Its begin, in UTC.
        until: Its end, in UTC.
        now_x: The place of the present, in percent of the width.
        ticks: Lines with labels.
    """

    first: datetime
    until: datetime
    now_x: float
    ticks: tuple[Tick, ...]

    def x(self, time: datetime) -> float:
        """Return the place of a time, in percent of the width."""
        return round(100 * ((time - self.first) / (self.until - self.first)), 3)


@dataclass(frozen=True, slots=True)
class Run:
    """A run of a schedule.

    Attributes:
        due: When it was due; of a run by hand, when it was sent.
        task_id: Its task; None: there is no record of one: it was not sent, or the record was deleted.
        status: The status of the task; None: there is no record.
        late_s: How many seconds after the due time the task started; None: it has not started, or was retried.
        ran_s: How long it ran, in seconds; None: it has not ended, or never started.
    """

    due: datetime
    task_id: str | None
    status: str | None
    late_s: float | None
    ran_s: float | None

    @property
    def is_live(self) -> bool:
        """Whether its task has not ended."""
        return self.status is not None and self.status not in _ENDED


@dataclass(frozen=True, slots=True)
class Mark:
    """A run or a due time in a lane.

    Attributes:
        x: Its place, in percent of the width.
        kind: The class that gives it a colour.
        due: When it is or was due.
        words: What happened, or will.
        target: The id of its task; None: it has none.
    """

    x: float
    kind: str
    due: datetime
    words: str
    target: str | None = None


@dataclass(frozen=True, slots=True)
class Lane:
    """The lane of a schedule.

    Attributes:
        marks: Its runs and due times, the earliest first.
        is_dense: Whether there are too many due times to show each of them; the lane is filled instead.
    """

    marks: tuple[Mark, ...]
    is_dense: bool


def frame_of(view: str, now: datetime) -> CalendarFrame:
    """Return the range of a calendar: from six hours ago for ``day``, and from two days ago for ``week``."""
    hour = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    midnight = hour.replace(hour=0)
    if view == "day":
        first, until, step, tick = hour - 6 * _HOUR, hour + 19 * _HOUR, 3 * _HOUR, midnight - _DAY
        moment = now.replace(second=0, microsecond=0)
    else:
        first, until, step, tick = midnight - 2 * _DAY, midnight + 5 * _DAY, _DAY, midnight - 2 * _DAY
        moment = now.replace(minute=now.minute // 10 * 10, second=0, microsecond=0)
    frame = CalendarFrame(first, until, 0.0, ())
    ticks: list[Tick] = []
    while tick < until:
        if tick >= first:
            is_day = view == "week" or not tick.hour
            ticks.append(Tick(frame.x(tick), f"{tick:%a %d %b}" if is_day else f"{tick:%H:%M}"))
        tick += step
    return CalendarFrame(first, until, frame.x(moment), tuple(ticks))


def lane(frame: CalendarFrame, near: DueTimes, runs: Sequence[Run], status: ScheduleStatus) -> Lane:
    """Lay out the runs and the due times of a schedule."""
    following = status.next_run_at
    shown = {each.due for each in runs}
    marks = [_run_mark(frame, each) for each in runs if frame.first <= each.due < frame.until]
    for due in near.times:
        if following is not None and due >= following and due not in shown:
            kind, words = ("paused", "is skipped, because the schedule is paused") if status.paused else ("due", "due")
            marks.append(Mark(frame.x(due), kind, due, words))
    return Lane(tuple(sorted(marks, key=lambda each: each.due)), near.is_cut)


def _run_mark(frame: CalendarFrame, run: Run) -> Mark:
    if run.task_id is None:
        return Mark(frame.x(run.due), "missed", run.due, "no task is known")
    is_waiting = run.status == TaskStatus.PENDING
    kind = "claimed" if is_waiting else (run.status or "").lower()
    return Mark(frame.x(run.due), kind, run.due, "waiting" if is_waiting else kind, run.task_id)
