"""Serves the metrics and the health of a worker over HTTP, on the event loop of the supervisor.

This module needs the extra ``metrics``. It is imported when the worker has a port for metrics.
"""

import asyncio
from http import HTTPStatus
from typing import NamedTuple

from horsies.events import event
from horsies.metrics.exposition import Format, accepted_format, render
from horsies.metrics.server import Answer, MetricsServer, open_listener, text, url_of
from horsies.worker.child_process import ChildState
from horsies.worker.exchange_state import ClaimPhase, ExchangeState
from horsies.worker.heartbeats import HeartbeatRecord
from horsies.worker.metrics import WorkerCounters, gauges
from horsies.worker.options import WorkerOptions, WorkerSettings
from horsies.worker.processes import ProcessManager

_NOT_CLAIMING = {
    ClaimPhase.STOPPED: "the worker is stopping",
    ClaimPhase.OUTDATED: "the schema was upgraded, and this worker has to be restarted",
}


class _Parts(NamedTuple):
    """The parts of a worker whose state is shown.

    Attributes:
        processes: its children.
        exchanges: the state of its exchanges.
        heartbeats: when heartbeats reached the database.
    """

    processes: ProcessManager
    exchanges: ExchangeState
    heartbeats: HeartbeatRecord


class MetricsService:
    """Serves ``/metrics``, ``/healthz`` and ``/readyz`` until it is closed. It binds its address at once.

    Args:
        settings: those of the app, for the names of its tasks and queues.
        options: the command line, with the address.

    Attributes:
        counters: the counters of the worker.

    Raises:
        HorsiesError: HRS-206: the address cannot be used.
    """

    def __init__(self, settings: WorkerSettings, options: WorkerOptions) -> None:
        self.counters = WorkerCounters(settings.task_names, settings.queues)
        self._slots = options.processes * options.concurrency
        self._listener = open_listener(options.metrics_host, options.metrics_port or 0)
        self._rendering: dict[Format, asyncio.Task[bytes]] = {}
        self._server: MetricsServer | None = None

    async def start(self, processes: ProcessManager, exchanges: ExchangeState, heartbeats: HeartbeatRecord) -> None:
        """Serve the counters, and the state of these parts of the worker, from now on."""
        parts = _Parts(processes, exchanges, heartbeats)

        async def metrics(accept: str) -> Answer:
            return await self._metrics(parts, accepted_format(accept))

        async def health(_accept: str) -> Answer:
            return text(HTTPStatus.OK, "ok")

        async def readiness(_accept: str) -> Answer:
            return _readiness(parts)

        pages = {"/metrics": metrics, "/healthz": health, "/readyz": readiness}
        self._server = MetricsServer(self._listener, pages)
        await self._server.start()
        event("metrics.listening", url=f"{url_of(self._listener)}/metrics")

    async def close(self) -> None:
        """Close the socket and all connections."""
        if self._server is not None:
            await self._server.close()
        self._listener.close()

    async def _metrics(self, parts: _Parts, chosen: Format) -> Answer:
        """Answer with the metrics. Requests that come while a text is rendered share it."""
        running = self._rendering.get(chosen)
        if running is None:
            running = self._rendering[chosen] = asyncio.create_task(self._render(parts, chosen))
        body = await asyncio.shield(running)  # the client may go away, and others wait for the same text
        return Answer(HTTPStatus.OK, body, chosen.value)

    async def _render(self, parts: _Parts, chosen: Format) -> bytes:
        """Render the metrics in a thread: a thousand series take longer than a millisecond."""
        try:
            state = gauges(
                slots=self._slots,
                busy=parts.processes.busy_slots,
                is_database_up=parts.heartbeats.is_up,
                heartbeat_age_s=parts.heartbeats.age_s,
            )
            return await asyncio.to_thread(render, [*self.counters.read(), *state], chosen)
        finally:
            del self._rendering[chosen]


def _readiness(parts: _Parts) -> Answer:
    phase = parts.exchanges.claim_phase
    problems = [_NOT_CLAIMING[phase]] if phase in _NOT_CLAIMING else []
    if not parts.heartbeats.is_recent:
        problems.append("the database was not reached within a heartbeat")
    if not any(child.state is ChildState.READY for child in parts.processes):
        problems.append("no child process is ready")
    if problems:
        return text(HTTPStatus.SERVICE_UNAVAILABLE, "\n".join(problems))
    return text(HTTPStatus.OK, "ready")
