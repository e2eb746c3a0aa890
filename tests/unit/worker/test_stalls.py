"""Children that make no progress, and children that wait for a processor."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from horsies.worker.child_process import Child, new_channel
from horsies.worker.stalls import STALLED_AFTER_S, STALLED_IN_ANY_CASE_AFTER_S, StallDetector
from tests.support.waiting import wait_until

PID = 17
BUSY = "import os; os.sched_setaffinity(0, {int(__import__('sys').argv[1])})\nwhile True: pass"


@pytest.fixture
def child() -> Iterator[Child]:
    """Return a child that has started, without a process."""
    with new_channel(0, 0, "test/0", concurrency=1) as (made, ours, _files):
        made.pid = PID
        yield made
        ours.close()
    made.close()


def show(proc: Path, ran_s: float, state: str) -> StallDetector:
    """Let the child have run for so long, and be in a state; return a detector that reads this."""
    folder = proc / str(PID)
    folder.mkdir(exist_ok=True)
    (folder / "schedstat").write_text(f"{ran_s * 1e9:.0f} 1000 12\n")
    (folder / "stat").write_text(f"{PID} (a name) R) {state} 1 17 17 0 -1\n")
    return StallDetector(proc)


def test_a_child_without_progress_is_stalled(child: Child, tmp_path: Path) -> None:
    detector = show(tmp_path, 5.0, "S")
    detector.watch(child, 100.0)
    detector.watch(child, 100.0 + STALLED_AFTER_S)  # another job: the time still counts from the first one
    assert not detector.is_stalled(child, 100.0 + STALLED_AFTER_S / 2)
    assert detector.is_stalled(child, 100.001 + STALLED_AFTER_S)


def test_progress_starts_the_time_again(child: Child, tmp_path: Path) -> None:
    detector = show(tmp_path, 5.0, "S")
    detector.watch(child, 100.0)
    child.progress += 1
    assert not detector.is_stalled(child, 101.0)
    assert not detector.is_stalled(child, 101.0 + STALLED_AFTER_S / 2)
    assert detector.is_stalled(child, 101.001 + STALLED_AFTER_S)


def test_a_child_that_is_no_longer_watched_has_no_time(child: Child, tmp_path: Path) -> None:
    detector = show(tmp_path, 5.0, "S")
    detector.watch(child, 100.0)
    detector.unwatch(child)
    detector.unwatch(child)
    assert not detector.is_stalled(child, 101.0)  # watches it
    assert detector.is_stalled(child, 102.0)


def test_a_child_that_waits_for_a_processor_is_not_stalled_for_a_while(child: Child, tmp_path: Path) -> None:
    detector = show(tmp_path, 5.0, "R")
    detector.watch(child, 100.0)
    assert not detector.is_stalled(child, 100.001 + STALLED_AFTER_S)
    assert not detector.is_stalled(child, 99.999 + STALLED_IN_ANY_CASE_AFTER_S)
    assert detector.is_stalled(child, 100.001 + STALLED_IN_ANY_CASE_AFTER_S)


@pytest.mark.parametrize(("ran_s", "state"), [(5.001, "S"), (5.001, "D"), (5.001 + STALLED_AFTER_S, "R")])
def test_a_child_that_runs_or_waits_for_something_else_is_stalled(
    child: Child, tmp_path: Path, ran_s: float, state: str
) -> None:
    detector = show(tmp_path, 5.0, "R")
    detector.watch(child, 100.0)
    show(tmp_path, ran_s, state)
    assert detector.is_stalled(child, 100.001 + STALLED_AFTER_S)


@pytest.mark.parametrize("name", ["schedstat", "stat"])
@pytest.mark.parametrize("content", [None, "", "many 1000 12"])
def test_all_time_counts_where_the_kernel_reports_nothing(
    child: Child, tmp_path: Path, name: str, content: str | None
) -> None:
    detector = show(tmp_path, 5.0, "R")
    (tmp_path / str(PID) / name).unlink()
    if content is not None:
        (tmp_path / str(PID) / name).write_text(content)
    detector.watch(child, 100.0)
    assert detector.is_stalled(child, 100.001 + STALLED_AFTER_S)


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="the kernel does not report the time")
def test_two_processes_on_one_processor_wait_for_it(child: Child) -> None:
    processor = str(min(os.sched_getaffinity(0)))
    with ExitStack() as stack:
        for _ in range(2):
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", BUSY, processor]))
            stack.callback(process.kill)
            child.pid = process.pid
        detector = StallDetector()

        def waits_without_a_processor() -> bool:
            detector.unwatch(child)
            detector.watch(child, 100.0)
            return not detector.is_stalled(child, 100.001 + STALLED_AFTER_S)

        wait_until(waits_without_a_processor, describe="a process that could run")
        wait_until(lambda: detector.is_stalled(child, 100.001 + STALLED_AFTER_S), describe="a process that has run")


def test_a_process_that_sleeps_is_stalled(child: Child) -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        child.pid = process.pid
        detector = StallDetector()
        detector.watch(child, 100.0)
        wait_until(lambda: detector.is_stalled(child, 100.001 + STALLED_AFTER_S), describe="a process that sleeps")
        process.kill()
