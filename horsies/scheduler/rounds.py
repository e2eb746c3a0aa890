"""One round over schedules: defines those that are new or have changed, and sends what is due.

The round is a generator, so that the scheduler, which is asynchronous, and tests, which block, run the same steps.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from horsies.config.payload import PayloadPolicy
from horsies.db.operations import CallFailedError
from horsies.db.queries import schedules as schedule_queries
from horsies.db.queries.rows import ScheduleState
from horsies.db.steps import Steps
from horsies.events import event
from horsies.producer.payloads import warn_of_arguments
from horsies.scheduler.plan import Plan


@dataclass(frozen=True, slots=True)
class Round:
    """The result of a round.

    Attributes:
        sent: the number of tasks that it has sent.
        next_due: the seconds until the next due time of these schedules; None: there is none, or it has passed.
    """

    sent: int
    next_due: float | None


def run_round(plans: Sequence[Plan], payload: PayloadPolicy) -> Steps[Round]:
    """Run all due schedules of ``plans``. If many due times were missed, only some are run in one round."""
    [[(now, states)]] = yield [[schedule_queries.schedule_states()]]
    sent, next_due = 0, None
    for plan in plans:
        due, of_plan = yield from _process(plan, states.get(plan.name), now, payload)
        sent += of_plan
        if due is not None and due > now:  # otherwise more missed due times follow in the next round
            seconds = (due - now).total_seconds()
            next_due = seconds if next_due is None else min(next_due, seconds)
    return Round(sent, next_due)


def _process(
    plan: Plan, state: ScheduleState | None, now: datetime, payload: PayloadPolicy
) -> Steps[tuple[datetime | None, int]]:
    """Define or run one schedule; returns its next due time, or None if it has none, and how many tasks it has sent."""
    try:
        if state is None or not plan.matches(state):
            return (yield from _define(plan, state, now)), 0
        if state.paused or state.next_run_at is None:
            return None, 0
        return (yield from _run_due(plan, state, state.next_run_at, now, payload))
    except CallFailedError as failure:
        if failure.retryable:
            raise
        event("schedule.failed", level=logging.ERROR, schedule=plan.name, reason=failure.message)
        return None, 0


def _define(plan: Plan, state: ScheduleState | None, now: datetime) -> Steps[datetime | None]:
    first = plan.next_after(now) if plan.is_enabled else None
    description = plan.pattern.describe()
    define = schedule_queries.schedule_define(
        plan.name, plan.config_hash, description, plan.timezone, plan.request, first_due=first
    )
    yield define.groups
    if state is not None and state.config_hash == plan.config_hash:  # only the task that it sends has changed
        return state.next_run_at
    name = "schedule.created" if state is None else "schedule.changed"
    event(name, schedule=plan.name, pattern=description, timezone=plan.timezone, next_run_at=first)
    return first


def _run_due(
    plan: Plan, state: ScheduleState, due: datetime, now: datetime, payload: PayloadPolicy
) -> Steps[tuple[datetime | None, int]]:
    due_times, next_due = plan.due_times(due, now, state.resumed_at)
    sent: int | None = 0
    if next_due != due:
        tick = schedule_queries.schedule_tick(plan.name, plan.config_hash, due, due_times, next_due)
        [[sent], *_] = yield tick.groups
        if sent:
            warn_of_arguments(payload, plan.request.task_name, len(plan.request.args))
            event("schedule.ran", schedule=plan.name, due=due_times[-1], sent=sent, next_run_at=next_due)
    return next_due, sent or 0
