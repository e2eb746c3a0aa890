"""The benchmarks run; their numbers are not checked here."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.timeout(300)
def test_every_benchmark_runs_and_prints_its_numbers() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "run.py"), "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in (
        "drain, 2 processes",
        "drain, floor",
        "drain async",
        "drain with metrics",
        "drain without sampling",
        "drain with tracing switched off",
        "drain transactional, 2 processes",
        "drain transactional, floor",
        "send",
        "send, floor",
        "send_many of 1,000 tasks",
        "send_many of 1,000 tasks, floor",
        "latency p50",
        "latency p99",
        "latency p50, results in notices",
        "growth over 500 tasks, supervisor",
        "claim, empty",
        "claim, 1,000 tasks scheduled ahead",
        "claim, 1,000 ended tasks",
        "claim, 100 foreign tasks",
        "waiter, get_async, traced",
        "connections of 500 waiters",
        "longest pause behind a long task",
        "horsies --help",
        "change to its task's result",
        "fan-out and join",
        "chain p50",
        "blocks of a claim of 20, keyed",
        "starts until a small key's task, one at a time, beside the crowd",
        "  last tenth against the first, keyed",
        "reached of 40/s, rated",
        "blocks of a claim of 20, rate of each key",
        "drain, workers: 2",
        "  updates per task",
    ):
        assert f"\n{name}" in done.stdout
