"""The report about child processes that heartbeats carry."""

import json
import os

from horsies.worker.child_report import ChildReport

NO_SUCH_PID = 2**22 + 1


def test_the_memory_of_a_slot_is_that_of_all_its_children() -> None:
    report = ChildReport()
    one = json.loads(report.document([(0, os.getpid())], 3, 0.0))["memory"]
    two = json.loads(report.document([(0, os.getpid()), (0, os.getpid())], 3, 0.0))["memory"]
    assert one[1:] == [None, None]
    assert abs(two[0] - 2 * one[0]) <= 16
    assert one[0] > 5


def test_children_that_have_ended_or_are_being_forked_have_no_memory() -> None:
    document = json.loads(ChildReport().document([(0, NO_SUCH_PID), (1, None)], 2, 0.0))
    assert document == {"memory": [None, None], "deaths": []}


def test_the_last_deaths_are_kept_by_the_clock_of_the_database() -> None:
    report = ChildReport(lambda: 1000.0)
    for number in range(25):
        report.note_death(1, number, "exit", f"exit code {number} \x1b[2J{'x' * 1000}")
    deaths = json.loads(report.document([], 2, ahead_s=2.5))["deaths"]
    assert [pid for _, _, pid, _, _ in deaths] == list(range(5, 25))
    assert {(at, slot, reason) for at, slot, _, reason, _ in deaths} == {(997.5, 1, "exit")}
    assert all(len(cause) == 200 and "\x1b" not in cause for *_, cause in deaths)
