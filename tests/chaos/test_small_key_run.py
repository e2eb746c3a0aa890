"""A short version of the chaos run of keys for CI."""

import math
from pathlib import Path

import pytest

from tests.chaos.key_runs import KeySetting, keyed


@pytest.mark.timeout(180)
def test_a_small_run_keeps_limits_rates_and_holds_of_keys(tmp_path: Path) -> None:
    faults = {"child killed": 3, "supervisor killed": 1, "backend terminated": 1}
    run = keyed(tmp_path, KeySetting("ci", faults, 2.0, workers=3, idle_for_s=math.inf))
    assert [str(each) for each in run.violations] == []
    assert [name for name in faults if not run.faults[name]] == [], run.faults
    assert run.tasks["starts"] >= run.tasks["ended"] == 200
    assert run.tasks["holds of keys"] > 0
