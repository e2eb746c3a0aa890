"""The hooks of the page report to a Sentry server."""

import gzip
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.docs.test_documents import ROOT, blocks
from tests.support.environment import URL_VARIABLE, load_tasks
from tests.support.waiting import wait_until
from tests.support.workers import WorkerProcess


class SentryServer(ThreadingHTTPServer):
    """Keeps the events that a Sentry client sends."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Receiver)
        self.events: list[dict[str, Any]] = []

    @property
    def dsn(self) -> str:
        return f"http://key@127.0.0.1:{self.server_port}/1"


class _Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, SentryServer)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        envelope = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
        parts = [json.loads(line) for line in envelope.splitlines() if line.startswith(b"{")]
        self.server.events += [part for part in parts if "level" in part and "event_id" in part]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Keep the output of the tests clean."""


@pytest.fixture
def sentry() -> Iterator[SentryServer]:
    with SentryServer() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("options", [[], ["--concurrency=3"]], ids=" ".join)
def test_exceptions_reach_sentry_with_the_task_they_belong_to(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sentry: SentryServer, options: list[str]
) -> None:
    monkeypatch.setenv(URL_VARIABLE, database_url)
    file = tmp_path / "hooks.py"
    file.write_text("\n".join([*blocks(ROOT / "docs" / "hooks.md", "python"), "app.discover_tasks(['hooks'])"]))
    environment = {URL_VARIABLE: database_url, "SENTRY_DSN": sentry.dsn}
    worker = WorkerProcess(["worker", "hooks:app", *options], tmp_path, environment)
    try:
        worker.wait_until_ready()
        module = load_tasks(file, {})
        handles = [module.charge_card.send(cents).unwrap() for cents in (500_000, 5, 600_000)]
        outcomes = [handle.get(timeout_ms=20_000) for handle in handles]
        module.app.close()
        assert [outcome.is_ok() for outcome in outcomes] == [False, True, False]
        assert worker.stop() == 0  # a child sends what is queued before it ends
        wait_until(lambda: len(sentry.events) >= 2, describe=worker.log)
    finally:
        worker.kill_all()
    failed = {handles[0].task_id, handles[2].task_id}
    raised = [event for event in sentry.events if "exception" in event]
    assert {event["tags"]["task_id"] for event in raised} == failed
    assert {event["transaction"] for event in raised} == {"charge_card"}
    assert {event["exception"]["values"][0]["type"] for event in raised} == {"ValueError"}
    assert "hook.failed" not in worker.log()
