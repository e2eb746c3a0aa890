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
def growth() -> ModuleType:
    """Import the module as a program does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        return importlib.import_module("growth")


def test_each_row_has_its_ratio_to_the_empty_case(growth: ModuleType, tmp_path: Path) -> None:
    found = growth.Found()
    found.add("empty", "send", "ms", 0.5, 0.5)
    found.add("1,000 ended tasks", "send", "ms", 0.75, 0.5)
    rows = found.table().splitlines()[2:]
    assert rows == ["| empty | send | 0.50 ms | 1.00 |", "| 1,000 ended tasks | send | 0.75 ms | 1.50 |"]
    page = tmp_path / "page.md"
    page.write_text("# Page\n<!-- growth: begin; by a command -->\nold\n<!-- growth: end -->\nEnd.\n")
    growth.write(found, "commit abc", page)
    assert page.read_text().splitlines()[1:5] == [
        "<!-- growth: begin; by a command -->",
        "",
        "Measured: commit abc.",
        "",
    ]
    assert page.read_text().endswith("| 1.50 |\n\n<!-- growth: end -->\nEnd.\n")


def test_the_page_about_performance_has_the_section(growth: ModuleType) -> None:
    assert "\n\nnew\n\n" in growth.replace_section(growth.PAGE.read_text(), "growth", "new")


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
    rows = [line for line in done.stdout.splitlines() if line.endswith("of empty")]
    assert len(rows) == 12
    assert sum(line.startswith("empty ") and line.endswith("1.00 of empty") for line in rows) == 4
