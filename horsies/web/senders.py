"""Which schedule has sent a task: the id of the task says it."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from horsies.db.queries.schedules import due_id
from horsies.monitoring import ScheduleStatus
from horsies.producer.info import TaskInfo
from horsies.web.pages import common
from horsies.web.visit import Visit

_MILLISECOND = timedelta(milliseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


async def sender(visit: Visit, task: TaskInfo) -> str | None:
    """Return the name of the schedule that sent a task; None: none that is known did."""
    task_id = UUID(task.task_id)
    schedules = [each for each in await common.schedules(visit) if each.task_name == task.task_name]
    return next((each.name for each in schedules if _has_sent(each, task_id)), None)


def _has_sent(schedule: ScheduleStatus, task_id: UUID) -> bool:
    """Return whether a schedule has sent a task.

    The id is made of the due time in milliseconds and a hash of the due time in microseconds. All due times of a
    schedule have the same part below a millisecond, because they are whole seconds apart.
    """
    if str(task_id) == schedule.last_task_id:
        return True
    known = schedule.next_run_at or schedule.last_run_at
    if known is None:
        return False
    due = _EPOCH + (task_id.int >> 80) * _MILLISECOND + timedelta(microseconds=known.microsecond % 1000)
    return due_id(schedule.name, due) == task_id
