"""The benchmark of growth: its table, the proxy that delays, and a run of its cheapest case."""

import importlib
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def report() -> ModuleType:
    """Import the module as a program does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        return importlib.import_module("growth_report")


def test_each_group_is_a_table_with_ratios_to_its_first_row(report: ModuleType, tmp_path: Path) -> None:
    found = report.Found("commit abc")
    found.begin("rows")
    found.add("empty", "send", "ms", 0.5, 0.5)
    found.add("empty", "WAL", "bytes", 1500.4, 1500.4)
    found.add("1,000 ended tasks", "send", "ms", 0.75, 0.5)
    found.add("1,000 ended tasks", "WAL", "bytes", 3000.8, 1500.4)
    found.begin("old_snapshot")
    found.record(tmp_path / "growth.json")
    page = tmp_path / "page.md"
    page.write_text("# Page\n<!-- growth: begin; by a command -->\nold\n<!-- growth: end -->\nEnd.\n")
    report.write(report.recorded(tmp_path / "growth.json"), page)
    assert page.read_text().splitlines() == [
        "# Page",
        "<!-- growth: begin; by a command -->",
        "",
        "Measured: commit abc. The ratio to the first row of each table is in brackets.",
        "",
        "### Beside many rows",
        "",
        "| | send (ms) | WAL (bytes) |",
        "|---|---:|---:|",
        "| empty | 0.50 | 1,500 |",
        "| 1,000 ended tasks | 0.75 (1.50) | 3,001 (2.00) |",
        "",
        "<!-- growth: end -->",
        "End.",
    ]


def test_the_page_about_performance_has_the_recorded_session(report: ModuleType) -> None:
    assert report.section(report.recorded()) in report.PAGE.read_text()


def test_the_proxy_delays_and_keeps_the_bytes_in_order() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_echo, args=(server,), daemon=True).start()
        command = [sys.executable, str(BENCHMARKS / "delay_proxy.py"), "127.0.0.1", str(server.getsockname()[1]), "100"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as proxy:
            assert proxy.stdout is not None
            try:
                with socket.create_connection(("127.0.0.1", int(proxy.stdout.readline())), timeout=30) as client:
                    sent = bytes(range(256)) * 2_000
                    start = time.monotonic()
                    client.sendall(sent)
                    client.shutdown(socket.SHUT_WR)
                    got = b""
                    while data := client.recv(65_536):
                        got += data
                    assert time.monotonic() - start >= 0.1
                    assert got == sent
            finally:
                proxy.terminate()


def _echo(server: socket.socket) -> None:
    client, _ = server.accept()
    with client:
        got = b""
        while data := client.recv(65_536):
            got += data
        client.sendall(got)


@pytest.mark.timeout(180)
def test_the_cheapest_case_runs() -> None:
    command = [sys.executable, str(BENCHMARKS / "growth.py"), "--quick", "payloads"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.endswith("of the first")]
    assert len(rows) == 12
    assert sum(line.startswith("smallest arguments ") and line.endswith("1.00 of the first") for line in rows) == 4
