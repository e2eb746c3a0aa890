"""A short version of `make chaos` for CI: each fault of processes, connections, the server and its other users."""

from pathlib import Path

import pytest

from tests.chaos.faults import plan
from tests.chaos.runs import FULL, Setting, mixed, runs_of, scaled

SECONDS = 12.0


@pytest.mark.timeout(180)
def test_a_small_run_has_no_violation(tmp_path: Path) -> None:
    run = mixed(tmp_path, Setting("ci", scaled(0.01), SECONDS, bursts=0, runs=runs_of(0.01)))
    # Time limits apply only to the full run, on a machine that runs nothing else.
    assert [str(each) for each in run.violations if each.promise != "in time"] == []
    assert [name for name in FULL if not run.faults[name]] == [], run.faults
    assert run.events["notices of the hostile role"] > 50
    assert run.tasks["ended"] > 50
    assert run.tasks["rows inserted by transactional tasks"] > 5
    assert run.tasks["runs accepted from the producer"] >= 2


def test_a_seed_reproduces_the_plan() -> None:
    assert plan("x", FULL, 900.0) == plan("x", FULL, 900.0)
    assert plan("x", FULL, 900.0) != plan("y", FULL, 900.0)
    assert len(plan("x", FULL, 900.0)) == sum(FULL.values())
