"""The examples of the page about tracing export their spans to a server that stands for the Collector or Sentry."""

import gzip
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.docs.test_documents import ROOT, blocks
from tests.support.environment import URL_VARIABLE
from tests.support.workers import WorkerProcess

PAGE = ROOT / "docs" / "tracing.md"


class TraceServer(ThreadingHTTPServer):
    """Keeps the spans that exporters send with OTLP over HTTP, and the paths to which they send."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Receiver)
        self.spans: list[Span] = []
        self.paths: set[str] = set()

    def named(self, name: str) -> list[Span]:
        return sorted((span for span in self.spans if span.name == name), key=lambda span: span.start_time_unix_nano)


class _Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, TraceServer)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        message = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
        self.server.paths.add(self.path)
        if self.path.rstrip("/").endswith("/traces"):
            request = ExportTraceServiceRequest.FromString(message)
            scopes = [scope for resource in request.resource_spans for scope in resource.scope_spans]
            self.server.spans += [span for scope in scopes for span in scope.spans]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Keep the output of the tests clean."""


@pytest.fixture
def collector() -> Iterator[TraceServer]:
    with TraceServer() as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def run_page(folder: Path, code: list[str], env: Mapping[str, str]) -> None:
    """Run the page's module in a worker and its producer in a program, and stop both."""
    (folder / "shop.py").write_text("\n".join(code))
    (folder / "web.py").write_text("from shop import *\n" + "\n".join(blocks(PAGE, "python run")) + "\napp.close()\n")
    worker = WorkerProcess(["worker", "shop:app", "--processes=1"], folder, env)
    try:
        worker.wait_until_ready()
        subprocess.run([sys.executable, "web.py"], cwd=folder, env={**os.environ, **env}, check=True, timeout=60)
        assert worker.stop() == 0
    finally:
        worker.kill_all()


@pytest.mark.timeout(120)
def test_the_collector_gets_the_spans_that_the_page_shows(
    database_url: str, tmp_path: Path, collector: TraceServer
) -> None:
    endpoint = f"http://127.0.0.1:{collector.server_port}"
    env = {URL_VARIABLE: database_url, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
    run_page(tmp_path, blocks(PAGE, "python"), env)
    (web,), (sent,), (receipt,) = (
        collector.named(name) for name in ("POST /orders", "send charge_card", "write receipt")
    )
    first, second = collector.named("process charge_card")
    assert (sent.parent_span_id, receipt.parent_span_id) == (web.span_id, second.span_id)
    assert [link.span_id for link in first.links] == [sent.span_id]
    assert [link.span_id for link in second.links] == [sent.span_id, first.span_id]
    assert collector.paths == {"/v1/traces"}


@pytest.mark.timeout(120)
def test_sentry_gets_the_spans_of_attempts(database_url: str, tmp_path: Path, collector: TraceServer) -> None:
    env = {
        URL_VARIABLE: database_url,
        "SENTRY_DSN": f"http://key@127.0.0.1:{collector.server_port}/1",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}",
    }
    own = [code.replace('    export_spans("shop-worker")', "    pass") for code in blocks(PAGE, "python")]
    run_page(tmp_path, [*own, *blocks(PAGE, "python sentry")], env)
    first, second = collector.named("process charge_card")
    assert [link.span_id for link in second.links][1] == first.span_id
    assert "/api/1/integration/otlp/v1/traces/" in collector.paths
