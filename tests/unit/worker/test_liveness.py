"""Whether a local worker is certainly dead: its processes are gone, or others have their ids."""

import os
import subprocess
import sys

import pytest

from horsies.worker.liveness import _start_of, _starts, is_dead
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is sure")
ME = os.getpid()


@pytest.fixture
def ended() -> int:
    """Return the id of a process that has ended."""
    with subprocess.Popen(["true"]) as process:
        process.wait()
    return process.pid


def test_a_living_process_is_not_dead() -> None:
    assert not is_dead(ME, _starts(ME, os.getppid()))


def test_a_worker_is_dead_when_supervisor_and_fork_server_are_gone(ended: int) -> None:
    assert is_dead(ended, f"1 {ended}:2")


def test_a_worker_is_not_proven_dead_while_its_fork_server_lives(ended: int) -> None:
    assert not is_dead(ended, f"1 {ME}:{_start_of(ME)}")
    assert not is_dead(ME, f"{_start_of(ME)} {ended}:1")


def test_a_reused_process_id_is_dead() -> None:
    assert is_dead(ME, f"1 {ME}:2")


def test_a_zombie_is_dead(ended: int) -> None:
    with subprocess.Popen(["true"]) as zombie:
        wait_until(lambda: _start_of(zombie.pid) == "")
        assert is_dead(zombie.pid, f"5 {ended}:5")


@pytest.mark.parametrize("unknown", ["", "123456", "1 x:2", "1754000.25"])
def test_a_worker_without_checkable_facts_is_not_proven_dead(ended: int, unknown: str) -> None:
    assert not is_dead(ended, unknown)
