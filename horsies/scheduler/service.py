"""The scheduler's service: leads schedules, and sends their tasks when the database's clock says that they are due.

The database decides: a task is sent and its schedule goes on to the next due time in one transaction, and only if that
stands where the scheduler believed. Who leads what only keeps schedulers from getting in each other's way, above all
those that have different versions of an app.
"""

import asyncio
import logging
from contextlib import suppress
from datetime import datetime, timedelta

from horsies.config.app import WorkerResilienceConfig
from horsies.db.connect import Database
from horsies.db.connection import Backoff, WorkerConnection, retry_until_connected
from horsies.db.operations import CallFailedError
from horsies.db.queries import schedules as schedule_queries
from horsies.db.queries.rows import ScheduleState
from horsies.events import event
from horsies.process import STOP_SIGNALS, is_ignored_hangup
from horsies.scheduler.plan import Plan, Schedules

_RENEW_LEAD_EVERY_S = 0.5
_LEAD_TIMEOUT = timedelta(seconds=3)
"""A scheduler that stays away for so long loses the lead. Others ask every half second: one takes over within 5 s."""


class Scheduler:
    """Runs an app's schedules, of which it leads those that no other scheduler does."""

    def __init__(self, database: Database, resilience: WorkerResilienceConfig, schedules: Schedules) -> None:
        """Nothing is opened yet."""
        self._plans = {plan.name: plan for plan in schedules.plans}
        self._interval = schedules.check_interval_s
        self._resilience = resilience
        self._lock = WorkerConnection(database)
        self._connection = WorkerConnection(database)
        self._led: frozenset[str] = frozenset()
        self._lead_gained = asyncio.Event()

    async def run(self) -> None:
        """Run schedules for ever; times without the database are waited for."""
        try:
            async with asyncio.TaskGroup() as services:
                services.create_task(self._lead())
                services.create_task(self._run_rounds())
        finally:
            await self._lock.close()  # others take over at once
            await self._connection.close()

    async def _lead(self) -> None:
        backoff = Backoff(self._resilience)
        while self._plans:
            try:
                await self._renew_lead()
            except CallFailedError as failure:
                if self._led:
                    event("scheduler.lost", level=logging.WARNING, schedules=",".join(sorted(self._led)))
                self._led = frozenset()
                await backoff.pause(failure)
            else:
                backoff = Backoff(self._resilience)
                await asyncio.sleep(_RENEW_LEAD_EVERY_S)

    async def _renew_lead(self) -> None:
        """Keep the lead, and take that of schedules which have become free."""
        wanted = [name for name in self._plans if name not in self._led]
        if not self._lock.is_open:
            await self._lock.begin()
        gained = await self._lock.call(schedule_queries.schedule_lead(wanted, _LEAD_TIMEOUT))
        if gained:
            event("scheduler.leads", schedules=",".join(sorted(gained)))
            self._led |= {*gained}
            self._lead_gained.set()

    async def _run_rounds(self) -> None:
        while True:
            pause = self._interval
            if self._led:
                try:
                    pause = await self._run_round()
                except CallFailedError as failure:
                    event("scheduler.failed", level=logging.WARNING, reason=failure.message)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._lead_gained.wait(), pause)
            self._lead_gained.clear()

    async def _run_round(self) -> float:
        """Run what is due; answers in how many seconds something may be due again."""
        loop = asyncio.get_running_loop()
        now, states = await self._connection.call(schedule_queries.schedule_states())
        asked_at = loop.time()
        pause = self._interval
        for plan in [self._plans[name] for name in sorted(self._led)]:
            due = await self._process_schedule(plan, states.get(plan.name), now)
            if due is not None and due > now:  # else there is more to catch up with, in the next round
                pause = min(pause, (due - now).total_seconds())
        return max(0.0, pause - (loop.time() - asked_at))

    async def _process_schedule(self, plan: Plan, state: ScheduleState | None, now: datetime) -> datetime | None:
        """Do what is to be done for one schedule; answers its next due time."""
        try:
            if state is None or not plan.matches(state):
                return await self._define(plan, state, now)
            if state.paused or state.next_run_at is None:
                return None
            return await self._run_due(plan, state, state.next_run_at, now)
        except CallFailedError as failure:
            if failure.retryable:
                raise
            event("schedule.failed", level=logging.ERROR, schedule=plan.name, reason=failure.message)
            return None

    async def _define(self, plan: Plan, state: ScheduleState | None, now: datetime) -> datetime | None:
        first = plan.following(now) if plan.is_enabled else None
        description = plan.pattern.describe()
        await self._connection.call(
            schedule_queries.schedule_define(
                plan.name, plan.config_hash, description, plan.timezone, plan.request, first_due=first
            )
        )
        if state is not None and state.config_hash == plan.config_hash:  # only what it sends has changed
            return state.next_run_at
        name = "schedule.new" if state is None else "schedule.changed"
        event(name, schedule=plan.name, pattern=description, timezone=plan.timezone, next_run_at=first)
        return first

    async def _run_due(self, plan: Plan, state: ScheduleState, due: datetime, now: datetime) -> datetime:
        due_times, following = plan.due_times(due, now, state.resumed_at)
        if following != due:
            tick = schedule_queries.schedule_tick(plan.name, plan.config_hash, due, due_times, following)
            [[sent], *_] = await self._connection.transactions(*tick.groups)
            if sent:
                event("schedule.ran", schedule=plan.name, due=due_times[-1], sent=sent, next_run_at=following)
        return following


async def serve(database: Database, resilience: WorkerResilienceConfig, schedules: Schedules) -> None:
    """Be a process that only schedules, until SIGTERM, SIGINT or SIGHUP.

    Raises:
        CallFailedError: the database can't be used, and waiting will not change that.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in STOP_SIGNALS:
        if not is_ignored_hangup(number):
            loop.add_signal_handler(number, stop.set)
    stopping = asyncio.ensure_future(stop.wait())
    running = asyncio.ensure_future(_prepare_and_run(database, resilience, schedules))
    await asyncio.wait([stopping, running], return_when=asyncio.FIRST_COMPLETED)
    for each in (stopping, running):
        each.cancel()
    await asyncio.wait([running])
    event("scheduler.stopped")
    if not running.cancelled():
        running.result()


async def _prepare_and_run(database: Database, resilience: WorkerResilienceConfig, schedules: Schedules) -> None:
    await retry_until_connected(resilience, lambda: asyncio.to_thread(database.prepare))
    event("scheduler.ready", schedules=len(schedules.plans))
    await Scheduler(database, resilience, schedules).run()
