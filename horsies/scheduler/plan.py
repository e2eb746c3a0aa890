"""Schedules as plain data: checked against the app's tasks, with encoded arguments, so that they can be pickled."""

import hashlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import UUID
from zoneinfo import ZoneInfo

from horsies.codec.adapters import CodecError
from horsies.config.app import AppConfig
from horsies.config.patterns import SchedulePattern, invalid_schedule
from horsies.config.payload import PayloadPolicy
from horsies.config.schedules import ScheduleConfig, TaskSchedule
from horsies.db.operations import UNSET
from horsies.db.queries.rows import ScheduleState
from horsies.db.queries.tasks import EnqueueRequest, UniqueRequest
from horsies.errors import HorsiesError, flatten, raise_all
from horsies.producer.keys import key_of
from horsies.producer.once import encode_unique, request_facts
from horsies.producer.payloads import wrong_size
from horsies.tasks.registry import Registry, TaskDefinition


@dataclass(frozen=True, slots=True)
class Plan:
    """One schedule.

    Attributes:
        name: the name of the schedule.
        pattern: when it runs.
        timezone: the time zone in which the pattern is evaluated.
        is_enabled: whether it runs.
        catch_up: how many missed due times run at once, oldest first; None: only the latest one runs.
        config_hash: a hash of the definition. If it changes, the schedule is defined again, and due times count from
            that moment.
        request: the task to send; its id and delay are not used.
    """

    name: str
    pattern: SchedulePattern
    timezone: str
    is_enabled: bool
    catch_up: int | None
    config_hash: str
    request: EnqueueRequest

    def matches(self, state: ScheduleState | None) -> bool:
        """Whether the database has this version of the schedule."""
        own = (self.config_hash, self.request.fingerprint)
        return state is not None and (state.config_hash, state.fingerprint) == own

    def next_after(self, instant: datetime) -> datetime:
        """Return the first due time after an instant; both in UTC."""
        return self.pattern.next_after(instant.astimezone(ZoneInfo(self.timezone))).astimezone(UTC)

    def due_times(self, due: datetime, now: datetime, resumed_at: datetime | None) -> tuple[list[datetime], datetime]:
        """Compute the due times to run now, and the next one after them; all in UTC.

        Args:
            due: the first due time that has not been run.
            now: the time of the database.
            resumed_at: when the schedule was resumed; due times up to then are skipped. None: it was never paused.
        """
        if resumed_at is not None and due <= resumed_at:
            due = self.next_after(self._latest(due, resumed_at))
        if due > now:
            return [], due
        if self.catch_up is None:
            due = self._latest(due, now)
            return [due], self.next_after(due)
        found: list[datetime] = []
        while due <= now and len(found) < self.catch_up:
            found.append(due)
            due = self.next_after(due)
        return found, due

    def _latest(self, due: datetime, until: datetime) -> datetime:
        return self.pattern.latest(due.astimezone(ZoneInfo(self.timezone)), until).astimezone(UTC)


@dataclass(frozen=True, slots=True)
class Schedules:
    """All schedules of an app.

    Attributes:
        plans: the schedules.
        check_interval_s: the longest interval between two checks, in seconds.
        payload: the limits for the sizes of arguments.
    """

    plans: tuple[Plan, ...]
    check_interval_s: float
    payload: PayloadPolicy


def plan_schedules(config: AppConfig, registry: Registry) -> Schedules:
    """Check an app's schedules against its tasks and queues.

    Raises:
        HorsiesError: HRS-300: a task is unknown; HRS-205: a queue is unknown, or arguments do not fit or are too large.
            Several errors are raised as `MultipleValidationErrors`.
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
    return Schedules(tuple(plans), schedule_config.check_interval_seconds, config.payload)


def _plan(config: AppConfig, schedule: TaskSchedule, definition: TaskDefinition) -> Plan:
    queue = schedule.queue_name or definition.queue_name
    priority = {known.name: known.priority for known in config.queues}.get(queue)
    args, problems = b"", list[HorsiesError]()
    unique: UniqueRequest | None = None
    key: str | None = None
    try:
        args = definition.signature.encode_call(tuple(schedule.args), schedule.kwargs)
        unique = encode_unique(definition, definition.unique, tuple(schedule.args), schedule.kwargs)
        key = key_of(definition, UNSET, tuple(schedule.args), schedule.kwargs)
    except CodecError as error:
        problems.append(invalid_schedule(f"the arguments do not fit the task {definition.name!r}: {error}"))
    if too_large := wrong_size(config.payload, definition.name, len(args)):
        problems.append(invalid_schedule(too_large))
    if priority is None:
        help_text = f"its queues are {', '.join(config.queue_names())}"
        problems.append(invalid_schedule(f"the app has no queue {queue!r}", help_text))
    raise_all(problems)
    retries = None if definition.retry_policy is None else definition.retry_policy.to_json()
    is_enabled = schedule.enabled and config.schedule is not None and config.schedule.enabled
    facts = (definition.name, queue, priority, args, retries, definition.timeout_ms)
    request = EnqueueRequest(
        task_id=UUID(int=0),
        task_name=definition.name,
        queue=queue,
        priority=priority or 0,
        args=args,
        fingerprint=b"",
        delay=0,
        good_until=None,
        retry_policy=retries,
        timeout_ms=definition.timeout_ms,
        unique=unique,
        key=key,
    )
    request = replace(request, fingerprint=_hash(*facts, *request_facts(None, request.unique, request.key).values()))
    definition_facts = (repr(schedule.pattern), type(schedule.pattern).__name__, schedule.timezone, is_enabled)
    return Plan(
        name=schedule.name,
        pattern=schedule.pattern,
        timezone=schedule.timezone,
        is_enabled=is_enabled,
        catch_up=schedule.max_catch_up_runs if schedule.catch_up_missed else None,
        config_hash=_hash(*definition_facts, definition.name, queue, args).hex(),
        request=request,
    )


def _hash(*facts: object) -> bytes:
    return hashlib.sha256("\n".join(map(repr, facts)).encode()).digest()
