"""Schedules as plain data: checked against the app's tasks, with encoded arguments, fit for another process."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID
from zoneinfo import ZoneInfo

from horsies.codec.adapters import CodecError
from horsies.config.app import AppConfig
from horsies.config.patterns import SchedulePattern, invalid_schedule
from horsies.config.schedules import ScheduleConfig, TaskSchedule
from horsies.db.queries.rows import ScheduleState
from horsies.db.queries.tasks import EnqueueRequest
from horsies.errors import HorsiesError, flatten, raise_all
from horsies.tasks.registry import Registry, TaskDefinition


@dataclass(frozen=True, slots=True)
class Plan:
    """One schedule.

    Attributes:
        name: its name.
        pattern: when it runs.
        timezone: by whose clocks.
        is_enabled: whether it runs at all.
        catch_up: how many of the due times that were missed are run at once, oldest first; None: only the latest is.
        config_hash: of what makes up the schedule: another one means another schedule, whose times count from now.
        request: what is sent; its id and delay mean nothing.
    """

    name: str
    pattern: SchedulePattern
    timezone: str
    is_enabled: bool
    catch_up: int | None
    config_hash: str
    request: EnqueueRequest

    def matches(self, state: ScheduleState | None) -> bool:
        """Whether the database has it as it is."""
        mine = (self.config_hash, self.request.fingerprint)
        return state is not None and (state.config_hash, state.fingerprint) == mine

    def following(self, instant: datetime) -> datetime:
        """The first due time after an instant; both in UTC."""
        return self.pattern.next_after(instant.astimezone(ZoneInfo(self.timezone))).astimezone(UTC)

    def due_times(self, due: datetime, now: datetime, resumed_at: datetime | None) -> tuple[list[datetime], datetime]:
        """Which due times are to be run now, and which one comes after them; all in UTC.

        Args:
            due: the first that has not been run.
            now: by the database's clock.
            resumed_at: what was due until then was let pass.
        """
        if resumed_at is not None and due <= resumed_at:
            due = self.following(self._latest(due, resumed_at))
        if due > now:
            return [], due
        if self.catch_up is None:
            due = self._latest(due, now)
            return [due], self.following(due)
        found: list[datetime] = []
        while due <= now and len(found) < self.catch_up:
            found.append(due)
            due = self.following(due)
        return found, due

    def _latest(self, due: datetime, until: datetime) -> datetime:
        return self.pattern.latest(due.astimezone(ZoneInfo(self.timezone)), until).astimezone(UTC)


@dataclass(frozen=True, slots=True)
class Schedules:
    """All schedules of an app, and how many seconds may pass between two looks at them."""

    plans: tuple[Plan, ...]
    check_interval_s: float


def plan_schedules(config: AppConfig, registry: Registry) -> Schedules:
    """Check an app's schedules against its tasks and queues.

    Raises:
        HorsiesError: HRS-300, there is no such task; HRS-205, there is no such queue, or the arguments do not fit.
            Several at once as `MultipleValidationErrors`.
    """
    schedule_config = config.schedule or ScheduleConfig()
    plans: list[Plan] = []
    problems: list[HorsiesError] = []
    for schedule in schedule_config.schedules:
        try:
            plans.append(_plan(config, schedule, registry.get(schedule.task_name)))
        except HorsiesError as error:
            found = flatten([error])
            for problem in found:
                problem.location = schedule.location
                problem.notes = (f"in the schedule {schedule.name!r}", *problem.notes)
            problems += found
    raise_all(problems)
    return Schedules(tuple(plans), schedule_config.check_interval_seconds)


def _plan(config: AppConfig, schedule: TaskSchedule, definition: TaskDefinition) -> Plan:
    queue = schedule.queue_name or definition.queue_name
    priority = {known.name: known.priority for known in config.queues}.get(queue)
    args, wrong = b"", list[HorsiesError]()
    try:
        args = definition.signature.encode_call(tuple(schedule.args), schedule.kwargs)
    except CodecError as error:
        wrong.append(invalid_schedule(f"the arguments do not fit the task {definition.name!r}: {error}"))
    if priority is None:
        help_text = f"its queues are {', '.join(config.queue_names())}"
        wrong.append(invalid_schedule(f"the app has no queue {queue!r}", help_text))
    raise_all(wrong)
    retries = None if definition.retry_policy is None else definition.retry_policy.to_json()
    is_enabled = schedule.enabled and config.schedule is not None and config.schedule.enabled
    request = EnqueueRequest(
        task_id=UUID(int=0),
        task_name=definition.name,
        queue=queue,
        priority=priority or 0,
        args=args,
        fingerprint=_hash(definition.name, queue, priority, args, retries, definition.timeout_ms),
        delay=0,
        good_until=None,
        retry_policy=retries,
        timeout_ms=definition.timeout_ms,
    )
    makes_it_up = (repr(schedule.pattern), type(schedule.pattern).__name__, schedule.timezone, is_enabled)
    return Plan(
        name=schedule.name,
        pattern=schedule.pattern,
        timezone=schedule.timezone,
        is_enabled=is_enabled,
        catch_up=schedule.max_catch_up_runs if schedule.catch_up_missed else None,
        config_hash=_hash(*makes_it_up, definition.name, queue, args).hex(),
        request=request,
    )


def _hash(*facts: object) -> bytes:
    return hashlib.sha256("\n".join(map(repr, facts)).encode()).digest()
