"""The checker detects each kind of violation, and reports nothing for a correct run."""

from dataclasses import replace

import pytest

from tests.chaos.checker import Attempt, Evidence, Final, Kind, Note, Sent, Timing, bound, check

KINDS = {
    "once": Kind(frozenset({None})),
    "again": Kind(frozenset({None}), frozenset({"WORKER_CRASHED"})),
    "flaky": Kind(frozenset({None}), frozenset({"FLAKY"})),
    "failing": Kind(frozenset({"ALWAYS"})),
    "capped": Kind(frozenset({None}), cap=1),
    "offspring": Kind(frozenset({None})),
}


def ran(task_id: str, attempt: int = 1, pid: int = 7, at: float = 0.0, seconds: float = 1.0) -> list[Note]:
    return [Note("begin", task_id, attempt, pid, at), Note("end", task_id, attempt, pid, at + seconds)]


def done(task_id: str, kind: str = "once", attempt: int = 1, pid: int = 7, exchange_no: int = 1) -> Final:
    return Final(task_id, kind, "COMPLETED", None, attempt, pid, ("w", exchange_no), f"{attempt} {pid}")


def failed(task_id: str, code: str, attempt: int = 1, pid: int = 7, exchange_no: int = 1) -> Attempt:
    return Attempt(task_id, attempt, code, pid, ("w", exchange_no))


@pytest.fixture
def sound() -> Evidence:
    """A run with a task that ran once, one that was retried after a crash, one that failed, one that crashed."""
    return Evidence(
        KINDS,
        sent=[
            Sent("a", "once"),
            Sent("b", "again"),
            Sent("c", "failing"),
            Sent("d", "once"),
            Sent("e", "once", "unsure"),
        ],
        notes=[
            *ran("a"),
            Note("begin", "b", 1, 8, 0.0),
            *ran("b", 2, 9, 5.0),
            Note("begin", "c", 1, 7),
            Note("begin", "d", 1, 7),
        ],
        finals=[
            done("a"),
            done("b", "again", 2, 9, 2),
            Final("c", "failing", "FAILED", "ALWAYS", 1, 7, ("w", 4)),
            Final("d", "once", "FAILED", "WORKER_CRASHED", 1, 7, ("w", 5)),
        ],
        attempts=[failed("b", "WORKER_CRASHED", pid=3)],
        timings=[Timing("a handover", 1.0, 2.0)],
    )


def promises(evidence: Evidence) -> set[str]:
    return {violation.promise for violation in check(evidence)}


def test_a_sound_run_has_no_violation(sound: Evidence) -> None:
    assert check(sound) == []


def test_a_task_that_is_nowhere(sound: Evidence) -> None:
    sound.sent.append(Sent("lost", "once"))
    assert promises(sound) == {"accepted is kept"}


def test_a_task_that_ended_twice(sound: Evidence) -> None:
    sound.finals.append(replace(sound.finals[0], fence=("w", 99)))
    assert promises(sound) == {"accepted is kept"}


def test_a_task_that_is_still_live(sound: Evidence) -> None:
    sound.sent.append(Sent("slow", "once"))
    sound.live.append("slow")
    assert promises(sound) == {"every task ends"}


def test_a_task_that_nobody_sent(sound: Evidence) -> None:
    sound.notes += ran("phantom")
    sound.finals.append(done("phantom"))
    assert promises(sound) == {"nothing runs unasked"}


def test_what_a_task_sent_is_known_by_its_origin(sound: Evidence) -> None:
    sound.notes += ran("child")
    sound.finals.append(replace(done("child", "offspring"), origin=("a", 1)))
    assert promises(sound) == set()


def test_one_send_that_made_two_tasks(sound: Evidence) -> None:
    for name in ("one", "two"):
        sound.notes += ran(name)
        sound.finals.append(replace(done(name, "offspring"), origin=("a", 1)))
    assert promises(sound) == {"a replayed send is one task"}


def test_an_attempt_that_began_twice(sound: Evidence) -> None:
    sound.notes.append(Note("begin", "a", 1, 11, 9.0))
    assert promises(sound) == {"never twice by surprise"}


def test_a_second_attempt_that_no_policy_allows(sound: Evidence) -> None:
    sound.notes += ran("d", 2, 9, 5.0)
    sound.finals[3] = done("d", attempt=2, pid=9)
    sound.attempts.append(failed("d", "WORKER_CRASHED", exchange_no=9))
    assert "never twice by surprise" in promises(sound)


def test_a_second_attempt_without_a_first_failure(sound: Evidence) -> None:
    sound.attempts.clear()
    assert promises(sound) == {"never twice by surprise"}


def test_attempts_that_ran_side_by_side(sound: Evidence) -> None:
    sound.notes.append(Note("end", "b", 1, 8, 6.0))
    assert promises(sound) == {"attempts do not overlap"}


def test_an_outcome_of_another_process(sound: Evidence) -> None:
    sound.finals[0] = done("a", pid=99)
    assert promises(sound) == {"outcomes come from their attempt"}


def test_a_result_of_another_attempt(sound: Evidence) -> None:
    sound.finals[1] = replace(sound.finals[1], result="1 8")
    assert promises(sound) == {"outcomes come from their attempt"}


def test_a_failed_attempt_that_nobody_ran(sound: Evidence) -> None:
    sound.sent.append(Sent("f", "flaky"))
    sound.notes += [Note("begin", "f", 1, 7), *ran("f", 2, 7, 3.0)]
    sound.finals.append(done("f", "flaky", 2))
    sound.attempts.append(failed("f", "FLAKY", pid=8, exchange_no=3))
    assert promises(sound) == {"outcomes come from their attempt"}


def test_two_outcomes_of_one_claim(sound: Evidence) -> None:
    sound.attempts[0] = replace(sound.attempts[0], fence=("w", 2))
    assert promises(sound) == {"one outcome per fence"}


def test_an_end_that_the_function_does_not_have(sound: Evidence) -> None:
    sound.finals[2] = replace(sound.finals[2], code="TASK_EXCEPTION")
    assert promises(sound) == {"tasks end as they may"}


@pytest.mark.parametrize(("at", "broken"), [(0.5, True), (1.0, False)])
def test_more_at_once_than_the_cap(sound: Evidence, at: float, broken: bool) -> None:  # noqa: FBT001
    for task_id, begin in (("x", 0.0), ("y", at)):
        sound.sent.append(Sent(task_id, "capped"))
        sound.notes += ran(task_id, at=begin)
        sound.finals.append(done(task_id, "capped"))
    assert promises(sound) == ({"caps are kept"} if broken else set())


def test_what_took_too_long_or_was_left(sound: Evidence) -> None:
    sound.timings.append(Timing("a handover", 2.5, 2.0))
    sound.leftovers.append("process 1")
    sound.secrets.append("a password in worker.log")
    assert promises(sound) == {"in time", "nothing is left", "no secret in a log"}


def test_the_rule_of_three() -> None:
    assert bound(0) == bound(2) == 1.0
    assert bound(3000) == pytest.approx(0.001)


def test_tasks_of_runs_are_sent_by_their_run_and_return_what_they_like(sound: Evidence) -> None:
    kinds = {"node": Kind(frozenset({None}), tells=False), "built": Kind(frozenset({None}), tells=False, notes=False)}
    sound.kinds = {**KINDS, **kinds}
    sound.notes += ran("n")
    sound.finals += [
        replace(done("n", "node"), result="26", run_id="r"),
        replace(done("m", "built"), result=None, run_id="r"),
    ]
    assert check(sound) == []
    sound.notes = [note for note in sound.notes if note.task_id != "n"]
    assert promises(sound) == {"outcomes come from their attempt"}
