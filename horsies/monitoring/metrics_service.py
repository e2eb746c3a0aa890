"""Serves the metrics of the cluster over HTTP. This module needs the extra ``metrics``."""

import asyncio
import logging
import socket
import time
from http import HTTPStatus

from horsies.events import event
from horsies.metrics.exposition import accepted_format, render
from horsies.metrics.server import Answer, MetricsServer, text, url_of
from horsies.metrics.values import Reading
from horsies.monitoring.broker import Broker
from horsies.monitoring.metrics import cluster_metrics_async
from horsies.result import Err

_MAX_AGE_S = 10.0
_REPEAT_AFTER_S = 1.0


class ClusterMetrics:
    """The latest metrics of the cluster. However many clients ask, the database is asked at most every 10 seconds.

    Args:
        broker: reads them.
        max_age_s: the age in seconds at which the database is asked again.
    """

    def __init__(self, broker: Broker, max_age_s: float = _MAX_AGE_S) -> None:
        self._broker = broker
        self._max_age_s = max_age_s
        self._reading: Reading | None = None
        self._ask_again_at = 0.0
        self._asking: asyncio.Task[None] | None = None

    async def read(self) -> Reading | None:
        """Return the metrics, at most ``max_age_s`` old; None: the database did not answer."""
        if time.monotonic() >= self._ask_again_at:
            if self._asking is None:
                self._asking = asyncio.create_task(self._ask())
            await asyncio.shield(self._asking)  # the client may go away, and others wait for the same answer
        return self._reading

    async def _ask(self) -> None:
        self._reading, wait_s = None, _REPEAT_AFTER_S
        try:
            found = await cluster_metrics_async(self._broker)
            if isinstance(found, Err):
                event("metrics.failed", level=logging.ERROR, reason=found.err_value.message)
            else:
                self._reading, wait_s = found.ok_value, self._max_age_s
        finally:
            self._ask_again_at = time.monotonic() + wait_s
            self._asking = None


async def serve_metrics(broker: Broker, listener: socket.socket) -> None:
    """Serve ``/metrics`` and ``/healthz`` until this coroutine is cancelled, or the process ends."""
    cluster = ClusterMetrics(broker)

    async def metrics(accept: str) -> Answer:
        reading = await cluster.read()
        if reading is None:
            return text(HTTPStatus.SERVICE_UNAVAILABLE, "the database did not answer; the log has the reason")
        chosen = accepted_format(accept)
        return Answer(HTTPStatus.OK, await asyncio.to_thread(render, reading, chosen), chosen.value)

    async def health(_accept: str) -> Answer:
        return text(HTTPStatus.OK, "ok")

    server = MetricsServer(listener, {"/metrics": metrics, "/healthz": health})
    await server.start()
    event("metrics.listening", url=f"{url_of(listener)}/metrics")
    try:
        await asyncio.Event().wait()
    finally:
        await server.close()
