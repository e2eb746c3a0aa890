"""The checker detects each kind of violation, and reports nothing for a correct run."""

import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tests.chaos.checker import (
    Answer,
    Attempt,
    Effect,
    Evidence,
    Final,
    Kill,
    Kind,
    Note,
    Sent,
    Timing,
    bound,
    check,
)
from tests.chaos.cluster import kills_in

KINDS = {
    "once": Kind(frozenset({None})),
    "again": Kind(frozenset({None}), frozenset({"WORKER_CRASHED"})),
    "flaky": Kind(frozenset({None}), frozenset({"FLAKY"})),
    "failing": Kind(frozenset({"ALWAYS"})),
    "capped": Kind(frozenset({None}), cap=1),
    "offspring": Kind(frozenset({None})),
    "effect": Kind(frozenset({None, "ALWAYS"}), frozenset({"BROKER_ERROR", "LOST"}), transactional=True),
}


def ran(task_id: str, attempt: int = 1, pid: int = 7, at: float = 0.0, seconds: float = 1.0) -> list[Note]:
    return [Note("begin", task_id, attempt, pid, at), Note("end", task_id, attempt, pid, at + seconds)]


def done(task_id: str, kind: str = "once", attempt: int = 1, pid: int = 7, exchange_no: int = 1) -> Final:
    return Final(task_id, kind, "COMPLETED", None, attempt, pid, ("w", exchange_no), f"{attempt} {pid}")


def failed(task_id: str, code: str, attempt: int = 1, pid: int = 7, exchange_no: int = 1) -> Attempt:
    return Attempt(task_id, attempt, code, pid, ("w", exchange_no))


@pytest.fixture
def correct() -> Evidence:
    """Return a correct run with one task each that completed, was retried after a crash, failed, and crashed."""
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
        timings=[Timing("a recovery", 1.0, 2.0)],
    )


def promises(evidence: Evidence) -> set[str]:
    return {violation.promise for violation in check(evidence)}


def test_a_correct_run_has_no_violation(correct: Evidence) -> None:
    assert check(correct) == []


def test_a_task_that_disappeared(correct: Evidence) -> None:
    correct.sent.append(Sent("lost", "once"))
    assert promises(correct) == {"accepted is kept"}


def test_a_task_that_ended_twice(correct: Evidence) -> None:
    correct.finals.append(replace(correct.finals[0], fence=("w", 99)))
    assert promises(correct) == {"accepted is kept"}


def test_a_task_that_is_still_live(correct: Evidence) -> None:
    correct.sent.append(Sent("slow", "once"))
    correct.live.append("slow")
    assert promises(correct) == {"every task ends"}


def test_a_task_that_nobody_sent(correct: Evidence) -> None:
    correct.notes += ran("phantom")
    correct.finals.append(done("phantom"))
    assert promises(correct) == {"nothing runs unasked"}


def test_a_task_sent_by_a_task_is_recognized_by_its_origin(correct: Evidence) -> None:
    correct.notes += ran("child")
    correct.finals.append(replace(done("child", "offspring"), origin=("a", 1)))
    assert promises(correct) == set()


def test_one_send_that_made_two_tasks(correct: Evidence) -> None:
    for name in ("one", "two"):
        correct.notes += ran(name)
        correct.finals.append(replace(done(name, "offspring"), origin=("a", 1)))
    assert promises(correct) == {"a replayed send is one task"}


def test_answers_that_are_stored(correct: Evidence) -> None:
    correct.answers += [Answer("a", "-", "1 7"), Answer("c", "ALWAYS", ""), Answer("d", "WORKER_CRASHED", "")]
    assert check(correct) == []


@pytest.mark.parametrize(
    "answered",
    [Answer("a", "-", "forged"), Answer("a", "FORGED", ""), Answer("c", "-", "1 7"), Answer("live", "-", "1 7")],
)
def test_an_answer_that_is_not_stored(correct: Evidence, answered: Answer) -> None:
    correct.answers.append(answered)
    assert promises(correct) == {"answers are true"}


def test_a_living_worker_that_was_declared_dead(correct: Evidence) -> None:
    correct.fenced.append("the worker 'direct' was declared dead after a step of +600 s")
    assert promises(correct) == {"living workers keep their tasks"}


def test_an_attempt_that_began_twice(correct: Evidence) -> None:
    correct.notes.append(Note("begin", "a", 1, 11, 9.0))
    assert promises(correct) == {"never twice by surprise"}


def test_a_second_attempt_that_no_policy_allows(correct: Evidence) -> None:
    correct.notes += ran("d", 2, 9, 5.0)
    correct.finals[3] = done("d", attempt=2, pid=9)
    correct.attempts.append(failed("d", "WORKER_CRASHED", exchange_no=9))
    assert "never twice by surprise" in promises(correct)


def test_a_second_attempt_without_a_first_failure(correct: Evidence) -> None:
    correct.attempts.clear()
    assert promises(correct) == {"never twice by surprise"}


def test_attempts_that_overlapped(correct: Evidence) -> None:
    correct.notes.append(Note("end", "b", 1, 8, 6.0))
    assert promises(correct) == {"attempts do not overlap"}


def test_an_outcome_of_another_process(correct: Evidence) -> None:
    correct.finals[0] = done("a", pid=99)
    assert promises(correct) == {"outcomes come from their attempt"}


def test_a_result_of_another_attempt(correct: Evidence) -> None:
    correct.finals[1] = replace(correct.finals[1], result="1 8")
    assert promises(correct) == {"outcomes come from their attempt"}


def test_a_failed_attempt_that_nobody_ran(correct: Evidence) -> None:
    correct.sent.append(Sent("f", "flaky"))
    correct.notes += [Note("begin", "f", 1, 7), *ran("f", 2, 7, 3.0)]
    correct.finals.append(done("f", "flaky", 2))
    correct.attempts.append(failed("f", "FLAKY", pid=8, exchange_no=3))
    assert promises(correct) == {"outcomes come from their attempt"}


def test_two_outcomes_of_one_claim(correct: Evidence) -> None:
    correct.attempts[0] = replace(correct.attempts[0], fence=("w", 2))
    assert promises(correct) == {"one outcome per fence"}


def test_an_outcome_that_the_function_cannot_have(correct: Evidence) -> None:
    correct.finals[2] = replace(correct.finals[2], code="TASK_EXCEPTION")
    assert promises(correct) == {"tasks end as they may"}


@pytest.mark.parametrize(("at", "broken"), [(0.5, True), (1.0, False)])
def test_more_running_tasks_than_the_cap(correct: Evidence, at: float, broken: bool) -> None:  # noqa: FBT001
    for task_id, begin in (("x", 0.0), ("y", at)):
        correct.sent.append(Sent(task_id, "capped"))
        correct.notes += ran(task_id, at=begin)
        correct.finals.append(done(task_id, "capped"))
    assert promises(correct) == ({"caps are kept"} if broken else set())


def test_exceeded_time_limits_and_leftover_processes(correct: Evidence) -> None:
    correct.timings.append(Timing("a recovery", 2.5, 2.0))
    correct.leftovers.append("process 1")
    correct.secrets.append("a password in worker.log")
    assert promises(correct) == {"in time", "nothing is left", "no secret in a log"}


def test_the_rule_of_three() -> None:
    assert bound(0) == bound(2) == 1.0
    assert bound(3000) == pytest.approx(0.001)


def test_tasks_of_runs_are_sent_by_their_run_and_may_return_anything(correct: Evidence) -> None:
    kinds = {"node": Kind(frozenset({None}), tells=False), "built": Kind(frozenset({None}), tells=False, notes=False)}
    correct.kinds = {**KINDS, **kinds}
    correct.notes += ran("n")
    correct.finals += [
        replace(done("n", "node"), result="26", run_id="r"),
        replace(done("m", "built"), result=None, run_id="r"),
    ]
    assert check(correct) == []
    correct.notes = [note for note in correct.notes if note.task_id != "n"]
    assert promises(correct) == {"outcomes come from their attempt"}


@pytest.fixture
def transactional(correct: Evidence) -> Evidence:
    """Return a correct run with a transactional task that completed at its third attempt, and one that failed."""
    correct.sent += [Sent("t", "effect"), Sent("u", "effect")]
    correct.notes += [Note("begin", "t", 1, 20, 1.0), *ran("t", 3, 21, 5.0), *ran("u", 1, 22)]
    correct.finals += [done("t", "effect", 3, 21, 23), Final("u", "effect", "FAILED", "ALWAYS", 1, 22, ("w", 24))]
    correct.attempts += [failed("t", "LOST", 1, 20, 21), failed("t", "BROKER_ERROR", 2, 20, 22)]  # the 2nd has no note
    correct.effects.append(Effect("t", 3, 21))
    return correct


def test_effects_of_the_completed_tasks_only(transactional: Evidence) -> None:
    assert check(transactional) == []


def test_a_completed_task_without_an_effect(transactional: Evidence) -> None:
    transactional.effects.clear()
    assert promises(transactional) == {"effects happen exactly once"}


@pytest.mark.parametrize(
    "effect",
    [Effect("t", 3, 21), Effect("t", 1, 20), Effect("u", 1, 22), Effect("live", 1, 23)],
    ids=["twice", "of a failed attempt", "of a failed task", "of an unknown task"],
)
def test_an_effect_that_must_not_exist(transactional: Evidence, effect: Effect) -> None:
    transactional.effects.append(effect)
    assert promises(transactional) == {"effects happen exactly once"}
    assert len(check(transactional)) == 1


def test_a_committed_task_whose_process_was_killed_as_cancelled(transactional: Evidence) -> None:
    transactional.kills.append(Kill(21, "effect", 6.5))
    assert promises(transactional) == {"committed tasks are not killed"}


@pytest.mark.parametrize(
    "kill",
    [Kill(22, "effect", 2.0), Kill(20, "effect", 2.0), Kill(21, "effect", 4.0), Kill(21, "once", 6.5)],
    ids=["of a failed task", "of a failed attempt", "of an earlier process with this number", "of another task"],
)
def test_a_kill_that_is_correct(transactional: Evidence, kill: Kill) -> None:
    transactional.kills.append(kill)
    assert check(transactional) == []


def test_kills_are_found_in_the_log_of_a_worker_whose_clock_is_wrong() -> None:
    now = time.time()
    moment = datetime.fromtimestamp(now + 3600, UTC).isoformat(timespec="milliseconds")
    log = (
        f'{moment} INFO child.killed slot=0 pid=12 reason="task effect was cancelled"\n'
        f'{moment} INFO child.killed slot=1 pid=13 reason="task effect exceeded its time-out"\n'
        f"{moment} WARNING child.died slot=1 pid=14 cause=SIGKILL\n"
    )
    [kill] = kills_in(log, 3600)
    assert (kill.pid, kill.kind) == (12, "effect")
    assert kill.at == pytest.approx(time.monotonic(), abs=1.0)
