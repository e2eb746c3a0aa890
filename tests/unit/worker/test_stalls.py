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


def starve(proc: Path, seconds: float) -> StallDetector:
    """Let the child have waited for a processor for so long; return a detector that reads this."""
    folder = proc / str(PID)
    folder.mkdir(exist_ok=True)
    (folder / "schedstat").write_text(f"1000 {seconds * 1e9:.0f} 12\n")
    return StallDetector(proc)


def test_a_child_without_progress_is_stalled(child: Child, tmp_path: Path) -> None:
    detector = starve(tmp_path, 5.0)
    detector.watch(child, 100.0)
    detector.watch(child, 100.0 + STALLED_AFTER_S)  # another job: the time still counts from the first one
    assert not detector.is_stalled(child, 100.0 + STALLED_AFTER_S / 2)
    assert detector.is_stalled(child, 100.001 + STALLED_AFTER_S)


def test_progress_starts_the_time_again(child: Child, tmp_path: Path) -> None:
    detector = starve(tmp_path, 0.0)
    detector.watch(child, 100.0)
    child.progress += 1
    assert not detector.is_stalled(child, 101.0)
    assert not detector.is_stalled(child, 101.0 + STALLED_AFTER_S / 2)
    assert detector.is_stalled(child, 101.001 + STALLED_AFTER_S)


def test_a_child_that_is_no_longer_watched_has_no_time(child: Child, tmp_path: Path) -> None:
    detector = starve(tmp_path, 0.0)
    detector.watch(child, 100.0)
    detector.unwatch(child)
    detector.unwatch(child)
    assert not detector.is_stalled(child, 101.0)  # watches it
    assert detector.is_stalled(child, 102.0)


def test_the_time_without_a_processor_does_not_count_for_a_while(child: Child, tmp_path: Path) -> None:
    detector = starve(tmp_path, 5.0)
    detector.watch(child, 100.0)
    starve(tmp_path, 5.0 + 0.1)
    assert not detector.is_stalled(child, 100.1 + STALLED_AFTER_S / 2)
    assert detector.is_stalled(child, 100.101 + STALLED_AFTER_S)
    starve(tmp_path, 5.0 + 2 * STALLED_IN_ANY_CASE_AFTER_S)
    assert detector.is_stalled(child, 100.0 + STALLED_IN_ANY_CASE_AFTER_S)


@pytest.mark.parametrize("content", [None, "", "1000", "1000 many 12"])
def test_all_time_counts_where_the_kernel_does_not_report_it(child: Child, tmp_path: Path, content: str | None) -> None:
    (tmp_path / str(PID)).mkdir()
    if content is not None:
        (tmp_path / str(PID) / "schedstat").write_text(content)
    detector = StallDetector(tmp_path)
    detector.watch(child, 100.0)
    assert detector.is_stalled(child, 100.001 + STALLED_AFTER_S)


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="the kernel does not report the time")
def test_two_processes_on_one_processor_wait_for_it(child: Child) -> None:
    processor = str(min(os.sched_getaffinity(0)))
    detector = StallDetector()
    with ExitStack() as stack:
        for _ in range(2):
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", BUSY, processor]))
            stack.callback(process.kill)
            child.pid = process.pid
        detector.watch(child, 100.0)
        # The child is not stalled 20 ms after the start of the watch, once it has waited for more than 5 ms of them.
        wait_until(lambda: not detector.is_stalled(child, 100.02), describe="a process that waits for the processor")
