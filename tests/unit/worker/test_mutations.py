"""Mutation checks: for each guard of the worker's state machines, a fast unit test must fail when the guard is removed.

Each case edits one line in a copy of the package and runs one test against the copy. The test must fail.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CLAIMER = "tests/unit/worker/test_claimer.py"
COMPLETER = "tests/unit/worker/test_completer.py"
EXCHANGE = "tests/unit/worker/test_exchange.py"

MUTATIONS = {
    "wake generation": (
        "claimer.py",
        "elif self._wake_generation == batch.wake_generation:",
        "else:",
        f"{CLAIMER}::test_an_empty_reply_says_nothing_about_work_that_was_announced_after_it_was_asked_for",
    ),
    "half-size rule": (
        "exchange.py",
        "size > 0 and 2 * size >= in_flight",
        "size > 0",
        f"{EXCHANGE}::test_a_second_exchange_must_be_half_as_large_as_what_is_in_flight",
    ),
    "age of a late reply": (
        "claimer.py",
        "and age < self._settings.stale_after_s / 2",
        "",
        f"{CLAIMER}::test_a_reply_that_comes_too_late_starts_nothing",
    ),
    "identity of a late reply": (
        "claimer.py",
        "and batch.worker_id == self._state.identity.worker_id",
        "",
        f"{CLAIMER}::test_a_reply_to_an_earlier_identity_starts_nothing",
    ),
    "due timer, already fired": (
        "claimer.py",
        "loop.time() < self._timer.when() <= loop.time() + seconds",
        "self._timer.when() <= loop.time() + seconds",
        f"{CLAIMER}::TestDueTimer::test_a_timer_that_has_fired_is_set_again",
    ),
    "due timer, set earlier": (
        "claimer.py",
        "loop.time() < self._timer.when() <= loop.time() + seconds",
        "False",
        f"{CLAIMER}::TestDueTimer::test_a_later_time_does_not_move_an_earlier_one",
    ),
    "cancelled while in flight": (
        "claimer.py",
        "if job.fence.task_id not in batch.cancelled]",
        "]",
        f"{CLAIMER}::test_a_task_that_was_cancelled_while_its_claim_was_in_flight_is_released_instead_of_started",
    ),
    "busy outcomes are kept": (
        "completer.py",
        "self._busy |= {each.outcome.fence: each for each in busy}",
        "",
        f"{EXCHANGE}::test_a_busy_outcome_stops_no_claims_and_is_sent_again_later",
    ),
    "busy outcomes are sent again": (
        "exchange.py",
        "asyncio.get_running_loop().call_later(pause, self.retry_busy, busy.outcome.fence)",
        "",
        f"{EXCHANGE}::test_a_busy_outcome_is_sent_again_by_itself",
    ),
    "busy outcomes hold up the end of a worker": (
        "exchange.py",
        "return waiting + self.completer.busy_count + self.claimer.busy_releases",
        "return waiting + self.claimer.busy_releases",
        f"{EXCHANGE}::test_a_worker_is_not_flushed_while_an_outcome_is_busy",
    ),
    "busy releases hold up the end of a worker": (
        "exchange.py",
        "return waiting + self.completer.busy_count + self.claimer.busy_releases",
        "return waiting + self.completer.busy_count",
        f"{EXCHANGE}::test_a_worker_is_not_flushed_while_an_outcome_or_a_release_is_busy",
    ),
    "age of a busy outcome": (
        "completer.py",
        "since = self._busy_since.setdefault(outcome.fence, suspend_clock())",
        "since = self._busy_since[outcome.fence] = suspend_clock()",
        f"{COMPLETER}::test_a_busy_outcome_is_kept_with_all_that_belongs_to_it_and_sent_behind_others",
    ),
    "refused outcomes travel alone": (
        "completer.py",
        "            if is_isolated:",
        "            if not taken:",
        f"{COMPLETER}::test_the_outcomes_of_a_refused_batch_are_sent_one_by_one_and_only_the_guilty_one_fails",
    ),
    "a refused outcome joins no batch": (
        "completer.py",
        "if taken and (is_isolated or ",
        "if taken and (",
        f"{COMPLETER}::test_a_refused_outcome_does_not_travel_behind_others",
    ),
    "a failed commit blames no outcome": (
        "exchange.py",
        "if is_finish and refuses_value(failure):",
        "if failure.sqlstate:",
        f"{EXCHANGE}::test_a_commit_that_fails_isolates_no_outcome",
    ),
    "an upgrade stops claims": (
        "claimer.py",
        "if self._state.claim_phase is not ClaimPhase.CLAIMING or is_full:",
        "if self._state.claim_phase is ClaimPhase.STOPPED or is_full:",
        f"{EXCHANGE}::test_nothing_is_claimed_after_a_call_has_not_fitted_the_schema_twice",
    ),
    "older claim of a running task": (
        "reconciler.py",
        "if fence.task_id not in started",
        "",
        f"{EXCHANGE}::test_a_task_that_was_claimed_again_is_compared_by_the_claim_under_which_it_runs",
    ),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_removed_guard_is_detected(name: str, tmp_path: Path) -> None:
    file, guard, instead, test = MUTATIONS[name]
    for folder in ("horsies", "tests"):
        shutil.copytree(
            ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "e2e", "chaos", "db")
        )
    shutil.copytree(ROOT / "horsies" / "db", tmp_path / "horsies" / "db", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    mutated = tmp_path / "horsies" / "worker" / file
    assert guard in mutated.read_text()
    mutated.write_text(mutated.read_text().replace(guard, instead))
    assert run_test(test, tmp_path) == 1, f"no test misses the {name}"


def run_test(test: str, folder: Path) -> int:
    """Run one test in a folder; return the exit code of pytest."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "--noconftest",
        test,
    ]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    return subprocess.run(
        command, cwd=folder, env=environment | {"PYTHONPATH": str(folder)}, capture_output=True, check=False
    ).returncode
