"""The supervisor: one event loop that holds the worker's connections, its children and its services.

```
run ──> connect and register ──> serve until ──> finish tasks ──> disconnect
        prepare the schema,      a stop signal,  stop claiming,   cancel services, deregister,
        register the worker,     a failure, or   wait for tasks,  close connections, children
        recover local workers    a change of     send outcomes    and fork server
                                 the app
```

The first stop signal starts a graceful shutdown. A second one kills the running tasks.
"""

import asyncio
import faulthandler
import logging
import math
import re
import signal
import time
import uuid
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psycopg

from horsies.db.connect import Database
from horsies.db.connection import Backoff, WorkerConnection, prepare_in_thread, retry_until_connected
from horsies.db.errors import call_failed
from horsies.db.operations import Call, CallFailedError
from horsies.db.queries import worker as worker_queries
from horsies.db.queries.declarations import register_tasks
from horsies.db.queries.flow import declare_flow
from horsies.db.sqlfiles import channel, listen
from horsies.db.steps import carry_out_async
from horsies.events import event
from horsies.process import StopSignals
from horsies.scheduler.service import Scheduler
from horsies.worker import ipc
from horsies.worker.attempt_log import log_reaped
from horsies.worker.dispatcher import Dispatcher
from horsies.worker.exchange import Exchange
from horsies.worker.exchange_state import WorkerIdentity
from horsies.worker.fork_server import MAX_REAPED, ForkServer
from horsies.worker.heartbeats import HeartbeatRecord
from horsies.worker.ipc import Frame, Kind
from horsies.worker.liveness import is_dead, worker_facts
from horsies.worker.maintenance import MaintenanceService
from horsies.worker.options import WorkerOptions, WorkerSettings, suspend_clock
from horsies.worker.processes import ProcessManager
from horsies.worker.reload import Watch

if TYPE_CHECKING:
    from horsies.worker.metrics_service import MetricsService

_WATCHDOG_MARGIN = 0.25
_TASK_ID = re.compile(r"[0-9a-f]{32}")
_POLL_ONLY_S = 0.25
_PING_EVERY_S = 10.0
_MAX_CLOCK_ROUND_TRIP_S = 1.0
_SETTLE_AFTER_FORCED_STOP_S = 10.0
_LANES = 2
_REPEAT_HEARTBEAT_S = 1.0
_HEARTBEAT_LIMIT_S = 4.0
_ANSWER_EVERY_S = 1.0


class Supervisor:
    """Runs a worker from its first connection to its last outcome.

    Args:
        fork_server: has imported the app.
        settings: of the app.
        options: the command line.
        signals: the stop signals of this process.
        watch: ends the run when a file of the app changes; None: the app is not watched.
        metrics: counts and serves metrics; None: nothing is counted.
    """

    def __init__(  # noqa: PLR0913 - the parts of a worker that outlive it
        self,
        fork_server: ForkServer,
        settings: WorkerSettings,
        options: WorkerOptions,
        signals: StopSignals,
        watch: Watch | None = None,
        *,
        metrics: "MetricsService | None" = None,
    ) -> None:
        counters = None if metrics is None else metrics.counters
        self._signals = signals
        self._next_stop_is_forced = False
        self._settings = settings
        self._options = options
        self._fork_server = fork_server
        self._database = Database(settings.broker)
        self._facts = worker_facts(settings, options, fork_server.pid)
        self._identity = WorkerIdentity(uuid.uuid4(), self._facts.hostname)
        self._lanes = [WorkerConnection(self._database) for _ in range(_LANES)]
        self._heartbeat_connection = WorkerConnection(self._database, _HEARTBEAT_LIMIT_S, self._lanes[0])
        self._processes = ProcessManager(fork_server, self._facts.process_name, options, counters)
        self._dispatcher = Dispatcher(self._processes, settings, options)
        self._exchange = Exchange(self._lanes, self._identity, self._dispatcher, settings, options, counters=counters)
        self._watch = watch
        self._stop = asyncio.Event()
        self._force_stop = asyncio.Event()
        self._clock_skew_s: float | None = None
        self._heartbeat_requested = asyncio.Event()
        self._compared_at = -math.inf
        self._heartbeats = HeartbeatRecord(self._heartbeat_interval_s + _HEARTBEAT_LIMIT_S)
        self._metrics = metrics

    async def run(self) -> bool:
        """Run until a stop signal arrives, or until the app has changed.

        Returns:
            True if the run ended because the app has changed.

        Raises:
            CallFailedError: the database cannot be used, and a retry would not help.
            ForkServerDiedError: the fork server was killed.
            ChildrenCannotStartError: children do not become ready.
        """
        if self._metrics is None:
            return await self._run()
        await self._metrics.start(self._processes, self._exchange.state, self._heartbeats)
        try:
            return await self._run()
        finally:
            await self._metrics.close()

    async def _run(self) -> bool:
        loop = asyncio.get_running_loop()
        self._signals.catch(signal.SIGQUIT)
        loop.add_reader(self._signals.fileno(), self._on_signals)
        faulthandler.register(signal.SIGQUIT, file=2, chain=True)
        stop = asyncio.ensure_future(self._stop.wait())
        starting = asyncio.ensure_future(self._connect_and_register())
        await _first_of(stop, starting)
        if not starting.done():
            starting.cancel()
            await self._processes.close()
            return False
        if starting.exception() is not None:
            await self._processes.close()
            starting.result()  # raises the error that ended it
        self._essential = [asyncio.ensure_future(service) for service in self._exchange.essential_services()]
        services = [*self._essential, *(asyncio.ensure_future(service) for service in self._other_services())]
        await self._processes.start()
        ended = await _first_of(stop, self._processes.failed, *services, self._processes.ready)
        if ended is self._processes.ready:
            event("worker.ready", worker_id=self._identity.worker_id, processes=self._options.processes)
            ended = await _first_of(stop, self._processes.failed, *services)
        if (failure := ended.exception()) is None:
            event("worker.stopping", running=self._dispatcher.held_jobs)
        else:  # it is raised only after the running tasks have ended
            reason = str(failure) or repr(failure)
            event("worker.stopping", level=logging.ERROR, running=self._dispatcher.held_jobs, reason=reason)
        await self._finish_tasks()
        await self._disconnect(services)
        ended.result()  # raises the error of a failed service, or the failure of the processes; not after a stop signal
        return self._watch is not None and not self._stop.is_set()

    def _on_signals(self) -> None:
        for number in self._signals.take():
            if number == signal.SIGQUIT:
                self._processes.send_to_fork_server(Frame(Kind.STACKS))
                continue
            self._stop.set()
            if number != signal.SIGHUP:  # a closed terminal sends several, and a SIGTERM may follow
                if self._next_stop_is_forced:
                    self._force_stop.set()
                self._next_stop_is_forced = True

    async def _connect_and_register(self) -> None:
        """Wait for the database, create or check the schema, register the worker, and recover dead local workers."""
        await retry_until_connected(self._settings.resilience, lambda: prepare_in_thread(self._database))
        await retry_until_connected(self._settings.resilience, self._register)
        await retry_until_connected(self._settings.resilience, self._register_tasks)
        await retry_until_connected(self._settings.resilience, self._declare_queues)
        await retry_until_connected(self._settings.resilience, self._reap_local_workers)

    async def _reap_local_workers(self) -> None:
        """Recover the tasks of workers on this host whose processes have died without reporting it."""
        for known in await self._lanes[0].call(
            worker_queries.local_workers(self._facts.boot_id, self._facts.pid_namespace)
        ):
            if is_dead(known.pid, known.process_start):
                event("worker.dead_found", level=logging.WARNING, worker_id=known.worker_id, pid=known.pid)
                log_reaped(await self._lanes[0].call(worker_queries.reap(known.worker_id, MAX_REAPED)))

    async def _register(self) -> None:
        worker_id = self._identity.worker_id
        sent_at = suspend_clock()
        await self._compare_clocks(worker_queries.worker_start(worker_id, self._facts))
        self._processes.send_to_fork_server(Frame(Kind.WORKER, worker_id.bytes))
        self._feed_watchdog(sent_at)

    async def _register_tasks(self) -> None:
        """Register what the app declares about its tasks, so that they can be sent from SQL."""
        await self._lanes[0].call(register_tasks(self._identity.worker_id, self._settings.declarations))

    async def _declare_queues(self) -> None:
        """Store what the app declares about its queues, and let tasks that were sent before take turns."""
        await carry_out_async(self._lanes[0].transactions, declare_flow(self._settings.flow))

    def _other_services(self) -> Sequence[Coroutine[Any, Any, None]]:
        maintenance = MaintenanceService(
            WorkerConnection(self._database, fallback=self._lanes[0]), self._settings.recovery
        )
        services = [*self._exchange.other_services(), self._send_heartbeats(), self._poll(), maintenance.run()]
        if self._options.scheduler:
            settings = self._settings
            scheduler = Scheduler(self._database, settings.resilience, settings.schedules, fallback=self._lanes[0])
            services.append(scheduler.run())
        if self._watch is not None:
            services.append(self._watch.wait_async())
        return [*services, self._listen()] if self._database.can_listen else services

    async def _listen(self) -> None:
        """Listen for notices: look for work, stop tasks that were cancelled, and answer pings with a heartbeat."""
        backoff = Backoff(self._settings.resilience)
        wake, cancel, ping = (channel(kind, self._database.schema) for kind in ("wake", "cancel", "ping"))
        statements = [listen(wake), listen(cancel), listen(ping)]
        while True:
            try:
                async with await self._database.connect_async(to_listen=True) as connection:
                    for statement in statements:
                        await connection.execute(statement)
                    backoff = Backoff(self._settings.resilience)
                    self._exchange.wake()
                    while True:
                        async for notice in connection.notifies(timeout=_PING_EVERY_S):
                            if notice.channel == wake:
                                self._exchange.wake()
                            elif notice.channel == ping:
                                self._heartbeat_requested.set()
                            elif _TASK_ID.fullmatch(notice.payload):
                                self._exchange.on_cancel_notice(uuid.UUID(hex=notice.payload))
                        await connection.ping()  # otherwise a dead connection would look like a silent one
            except psycopg.Error as error:
                await backoff.pause(call_failed(error))

    async def _poll(self) -> None:
        """Look for work at intervals, because notices can be lost, and check the liveness of all children.

        Where nothing can listen, the polls are more frequent, and also look for tasks that were cancelled.
        """
        interval = (
            self._settings.resilience.notify_poll_interval_ms / 1000 if self._database.can_listen else _POLL_ONLY_S
        )
        max_silent_checks = max(2, math.ceil(self._settings.stale_after_s / interval))
        while True:
            await asyncio.sleep(interval)
            self._exchange.wake()
            if not self._database.can_listen:
                self._exchange.check_running()
            self._processes.kill_unresponsive(max_silent_checks)

    @property
    def _heartbeat_interval_s(self) -> float:
        recovery = self._settings.recovery
        return min(recovery.runner_heartbeat_interval_ms, recovery.claimer_heartbeat_interval_ms) / 1000

    async def _send_heartbeats(self) -> None:
        """Send heartbeats, and compare the claims of this worker with the database after each regular one.

        A failed heartbeat is repeated at once, over a new connection, and then every second: what counts for the
        watchdog and for other workers is the time since the last confirmed heartbeat.
        """
        failing_since: float | None = None
        while True:
            try:
                await self._send_heartbeat()
            except CallFailedError as failure:
                self._heartbeats.fail()
                if failing_since is None:  # often only the session has ended, and a new one works at once
                    failing_since = suspend_clock()
                    event("heartbeat.failed", level=logging.WARNING, reason=failure.message)
                    continue
                self._exchange.allow_more_lanes(allowed=False)
                await asyncio.sleep(_REPEAT_HEARTBEAT_S)
            else:
                if failing_since is not None:
                    event("heartbeat.restored", after_s=round(suspend_clock() - failing_since, 3))
                    failing_since = None
                await self._wait_for_next_heartbeat()

    async def _wait_for_next_heartbeat(self) -> None:
        """Wait for the interval. A ping ends it, but not in its first second, because anybody can send pings."""
        shortest = min(_ANSWER_EVERY_S, self._heartbeat_interval_s)
        await asyncio.sleep(shortest)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._heartbeat_interval_s - shortest):
                await self._heartbeat_requested.wait()
        self._heartbeat_requested.clear()  # before the heartbeat is sent: a ping that arrives meanwhile gets another

    async def _send_heartbeat(self) -> None:
        sent_at = suspend_clock()
        recent = self._exchange.completer.recent
        recent.ahead_s = self._clock_skew_s or 0.0
        documents = recent.document(), self._processes.report(recent.ahead_s)
        call = worker_queries.heartbeat(self._identity.worker_id, self._clock_skew_s, *documents)
        if await self._compare_clocks(call):
            self._feed_watchdog(sent_at)
            self._exchange.allow_more_lanes(allowed=True)
            self._request_comparison()
            return
        event("worker.fenced", level=logging.ERROR, worker_id=self._identity.worker_id)
        self._dispatcher.kill_busy("the worker was declared dead, and other workers may run its tasks")
        self._identity.worker_id = uuid.uuid4()
        recent.clear()
        await self._register()
        self._exchange.wake()
        await self._register_tasks()

    def _request_comparison(self) -> None:
        """Request the comparison of claims that follows a regular heartbeat; the answer to a ping needs none.

        Pings can replace all regular heartbeats, so the time since the last comparison decides.
        """
        now = asyncio.get_running_loop().time()
        if now - self._compared_at > self._heartbeat_interval_s / 2:
            self._compared_at = now
            self._exchange.reconciler.request()

    async def _compare_clocks[R](self, call: Call[tuple[R, float]]) -> R:
        """Make a call whose answer includes the clock of the server, and update the clock skew from it.

        The server reads its clock during the round trip, so the middle of the round trip is wrong by half of it at
        most. A slow round trip is not used. The next heartbeat reports the skew.
        """
        before = time.time()
        answer, clock = await self._heartbeat_connection.call(call)
        took = time.time() - before
        if 0 <= took < _MAX_CLOCK_ROUND_TRIP_S:
            self._clock_skew_s = before + took / 2 - clock
        return answer

    def _feed_watchdog(self, sent_at: float) -> None:
        """Extend the watchdog after a confirmed heartbeat: other workers respect the claims until the threshold.

        The threshold counts from when the heartbeat was sent.
        """
        self._heartbeats.confirm(sent_at)
        threshold = self._facts.stale_after_s * (1 - _WATCHDOG_MARGIN)
        self._processes.send_to_fork_server(ipc.tick(threshold - (suspend_clock() - sent_at)))

    async def _finish_tasks(self) -> None:
        """Wait for running tasks, kill them after the shutdown time-out, and send all outcomes to the database."""
        self._exchange.claimer.stop()
        self._dispatcher.withdraw()
        idle = asyncio.ensure_future(self._dispatcher.wait_idle())
        force_stop = asyncio.ensure_future(self._force_stop.wait())
        await _first_of(idle, force_stop, within_s=self._options.shutdown_timeout)
        if not idle.done():
            event("worker.stop_forced", level=logging.WARNING, running=self._dispatcher.held_jobs)
            self._dispatcher.kill_busy("the worker stops and does not wait any longer")
            await idle
        settle = asyncio.ensure_future(self._exchange.settle())
        # An essential service runs until it is cancelled, so it ends here only if it has failed. Then `settle` may wait
        # for ever.
        if await _first_of(settle, force_stop, *self._essential) is not settle:
            await asyncio.wait([settle], timeout=_SETTLE_AFTER_FORCED_STOP_S)
        settle.cancel()
        force_stop.cancel()

    async def _disconnect(self, services: Sequence[asyncio.Future[None]]) -> None:
        """Cancel the services, deregister the worker, and close the connections, the children and the fork server."""
        for service in services:
            service.cancel()
        await asyncio.wait(services)
        try:
            await self._deregister()
        except CallFailedError as failure:
            event("worker.deregister_failed", level=logging.WARNING, reason=failure.message)
        await self._heartbeat_connection.close()
        for connection in self._lanes:
            await connection.close()
        await self._processes.close()
        event("worker.stopped")

    async def _deregister(self) -> None:
        """Deregister the worker, and once more if that fails: the connection may have died since its last use."""
        deregister = worker_queries.worker_stop(self._identity.worker_id)
        try:
            await self._heartbeat_connection.call(deregister)
        except CallFailedError:
            await self._heartbeat_connection.call(deregister)


async def _first_of(*futures: asyncio.Future[Any], within_s: float | None = None) -> asyncio.Future[Any]:
    """Wait for one of the futures; returns one that has ended, or the first one after ``within_s`` seconds."""
    done, _ = await asyncio.wait(futures, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
    return next((future for future in futures if future in done), futures[0])
