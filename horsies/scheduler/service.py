"""The service of the scheduler: leads schedules, and sends their tasks when they are due by the clock of the database.

The database makes sure that a due time runs once: sending the task and moving the schedule to its next due time are one
transaction, which does nothing if another scheduler has moved the schedule before. The *lead* of a schedule is not
needed for that. It prevents that schedulers with different versions of an app redefine a schedule in turn.
"""

import asyncio
import logging
from contextlib import suppress
from datetime import timedelta
from uuid import uuid4

from horsies.config.app import WorkerResilienceConfig
from horsies.db.connect import Database
from horsies.db.connection import Backoff, WorkerConnection, prepare_in_thread, retry_until_connected
from horsies.db.operations import CallFailedError
from horsies.db.queries import schedules as schedule_queries
from horsies.db.steps import carry_out_async
from horsies.events import event
from horsies.process import STOP_SIGNALS, is_ignored_hangup
from horsies.scheduler.plan import Schedules
from horsies.scheduler.rounds import run_round

_RENEW_LEAD_EVERY_S = 1.0
_LEASE = timedelta(seconds=3.5)
"""A scheduler that is silent for this long loses its leads. Others try every second: one takes over within 5 s."""
_RELEASE_TIMEOUT_S = 2.0


class Scheduler:
    """Runs those schedules of an app that no other scheduler leads. Creating the object opens no connection.

    Args:
        database: the database.
        resilience: the pauses between retries.
        schedules: the schedules of the app.
        fallback: the connection that is used when the scheduler cannot open one; see `WorkerConnection`.
    """

    def __init__(
        self,
        database: Database,
        resilience: WorkerResilienceConfig,
        schedules: Schedules,
        fallback: WorkerConnection | None = None,
    ) -> None:
        self._plans = {plan.name: plan for plan in schedules.plans}
        self._interval = schedules.check_interval_s
        self._payload = schedules.payload
        self._resilience = resilience
        self._connection = WorkerConnection(database, fallback=fallback)
        self._holder = uuid4()
        self._led: frozenset[str] = frozenset()
        self._led_until = 0.0  # by the clock of the event loop
        self._lead_gained = asyncio.Event()

    async def run(self) -> None:
        """Run schedules until cancelled; retries while the database is unavailable."""
        try:
            async with asyncio.TaskGroup() as services:
                services.create_task(self._lead())
                services.create_task(self._run_rounds())
        finally:
            await self._release_leads()
            await self._connection.close()

    async def _lead(self) -> None:
        backoff = Backoff(self._resilience)
        while self._plans:
            try:
                await self._renew_leads()
            except CallFailedError as failure:
                self._note_leads(frozenset())
                await backoff.pause(failure)
            else:
                backoff = Backoff(self._resilience)
                await asyncio.sleep(_RENEW_LEAD_EVERY_S)

    async def _renew_leads(self) -> None:
        """Renew the leases, and acquire those of schedules that have become free."""
        asked_at = asyncio.get_running_loop().time()
        led = await self._connection.call(schedule_queries.schedule_lead(list(self._plans), self._holder, _LEASE))
        self._led_until = asked_at + _LEASE.total_seconds()
        self._note_leads(frozenset(led))

    def _note_leads(self, led: frozenset[str]) -> None:
        """Log which leads were gained and lost."""
        gained, lost = led - self._led, self._led - led
        self._led = led
        if lost:
            event("scheduler.lead_lost", level=logging.WARNING, schedules=",".join(sorted(lost)))
        if gained:
            event("scheduler.lead_acquired", schedules=",".join(sorted(gained)))
            self._lead_gained.set()

    async def _release_leads(self) -> None:
        """Release the leases, so that other schedulers take over at once. If that fails, the leases expire."""
        if self._led:
            with suppress(CallFailedError, TimeoutError):
                async with asyncio.timeout(_RELEASE_TIMEOUT_S):
                    await self._connection.call(schedule_queries.schedule_release(self._holder))

    async def _run_rounds(self) -> None:
        while True:
            pause = self._interval
            if self._led and asyncio.get_running_loop().time() < self._led_until:
                try:
                    pause = await self._run_round()
                except CallFailedError as failure:
                    event("scheduler.failed", level=logging.WARNING, reason=failure.message)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._lead_gained.wait(), pause)
            self._lead_gained.clear()

    async def _run_round(self) -> float:
        """Run all due schedules; returns the seconds until the next check."""
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        plans = [self._plans[name] for name in sorted(self._led)]
        done = await carry_out_async(self._connection.transactions, run_round(plans, self._payload))
        pause = self._interval if done.next_due is None else min(self._interval, done.next_due)
        return max(0.0, pause - (loop.time() - asked_at))


async def serve(database: Database, resilience: WorkerResilienceConfig, schedules: Schedules) -> None:
    """Run a scheduler in this process until SIGTERM, SIGINT or SIGHUP.

    Raises:
        CallFailedError: the database cannot be used, and a retry would not help.
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
    await retry_until_connected(resilience, lambda: prepare_in_thread(database))
    event("scheduler.ready", schedules=len(schedules.plans))
    await Scheduler(database, resilience, schedules).run()
