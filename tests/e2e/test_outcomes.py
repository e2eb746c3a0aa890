"""Every way to end, in children with a concurrency of one and of several tasks."""

import asyncio
import inspect
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import psutil
import pytest

from horsies import TaskAttemptOutcome, TaskHandle, TaskInfo, TaskStatus
from horsies.codes import BuiltInTaskCode, ContractCode, OperationalErrorCode, OutcomeCode
from tests.support.databases import new_database
from tests.support.environment import Environment, new_environment
from tests.support.server import Server
from tests.support.waiting import wait_until
from tests.support.workers import WorkerProcess, lives

UNHANDLED = OperationalErrorCode.UNHANDLED_EXCEPTION
NO_RESULT = OperationalErrorCode.TASK_EXCEPTION
CRASHED = OperationalErrorCode.WORKER_CRASHED
UNSTORABLE = OperationalErrorCode.WORKER_SERIALIZATION_ERROR
MISMATCH = ContractCode.RETURN_TYPE_MISMATCH
TIMED_OUT = OutcomeCode.TASK_TIMEOUT

type Code = BuiltInTaskCode | str


@pytest.fixture(scope="module", params=["--processes=2", "--concurrency=4"])
def stage(
    request: pytest.FixtureRequest, server: Server, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Environment, WorkerProcess]]:
    """Yield an environment and a worker that the tests share. Each task has a separate key."""
    with new_database(server, template) as url, new_environment(url, tmp_path_factory.mktemp("outcomes")) as shared:
        yield shared, shared.ready_worker(request.param)


@pytest.fixture
def environment(stage: tuple[Environment, WorkerProcess]) -> Environment:
    return stage[0]


@pytest.fixture
def worker(stage: tuple[Environment, WorkerProcess]) -> WorkerProcess:
    return stage[1]


def outcome(handle: TaskHandle[Any]) -> Any:
    result = handle.get(timeout_ms=30_000)
    return result.ok_value if result.is_ok() else result.err_value


def info_of(handle: TaskHandle[Any]) -> TaskInfo:
    """Wait for the end of a task, and return its information."""
    outcome(handle)
    info = handle.info(include_result=True, include_failed_reason=True, include_attempts=True).unwrap()
    assert info is not None
    return info


@pytest.mark.parametrize("task", ["ok", "ok_async"])
def test_a_value_completes_the_task(environment: Environment, task: str) -> None:
    info = info_of(environment.send(task, f"{task} once"))
    assert info.status is TaskStatus.COMPLETED
    assert info.result is not None
    assert info.result.ok_value == f"done {task} once"
    assert (info.error_code, info.failed_reason, info.failed_at) == (None, None, None)
    assert info.started_at is not None
    assert info.completed_at is not None
    assert info.sent_at <= info.started_at <= info.completed_at
    assert environment.counts()[f"{task} once"] == 1


@pytest.mark.parametrize(
    ("task", "code", "says"),
    [
        ("fail", "SHOP_CLOSED", ["no KEY"]),
        ("boom", UNHANDLED, ["RuntimeError: boom KEY"]),
        ("boom_async", UNHANDLED, ["RuntimeError: boom KEY"]),
        ("leave", UNHANDLED, ["SystemExit: leaving KEY"]),
        ("leave_async", UNHANDLED, ["SystemExit: leaving KEY"]),
        ("interrupt", UNHANDLED, ["KeyboardInterrupt"]),
        ("interrupt_async", UNHANDLED, ["KeyboardInterrupt"]),
        ("wrong_type", MISMATCH, ["task wrong_type", "int", "'not a number: KEY'"]),
        ("no_result", NO_RESULT, ["task no_result returned NoneType", "TaskResult(ok="]),
        ("bare_value", NO_RESULT, ["task bare_value returned str", "TaskResult(ok="]),
        ("unserialisable", UNSTORABLE, ["task unserialisable", "lock"]),
        ("nan", UNSTORABLE, ["task nan", "cannot be represented as JSON"]),
        ("exit_now", CRASHED, ["exited with code 7"]),
        ("exit_async", CRASHED, ["exited with code 0"]),
        ("kill", CRASHED, ["was killed by signal 9 (SIGKILL)"]),
        ("segfault", CRASHED, ["was killed by signal 11 (SIGSEGV)"]),
        ("slow", TIMED_OUT, ["task slow ", "300 ms"]),
        ("slow_async", TIMED_OUT, ["task slow_async", "300 ms"]),
        ("slow_deaf", TIMED_OUT, ["task slow_deaf", "300 ms"]),
    ],
)
def test_a_failure_has_its_code_and_reason(environment: Environment, task: str, code: Code, says: list[str]) -> None:
    key = f"{task} failing"
    info = info_of(environment.send(task, key))
    assert info.status is TaskStatus.FAILED
    assert info.result is not None
    error = info.result.err_value
    assert error.error_code is code if isinstance(code, BuiltInTaskCode.__value__) else error.error_code == code
    assert info.error_code == code
    assert info.failed_reason == error.message
    assert [part for part in says if part.replace("KEY", key) not in str(error.message)] == []
    assert info.completed_at is None
    assert info.failed_at is not None
    assert environment.counts()[key] == 1
    check_only_attempt(info, TaskAttemptOutcome.WORKER_FAILURE if code is CRASHED else TaskAttemptOutcome.FAILED)


@pytest.mark.parametrize("task", ["wrong_type", "no_result", "bare_value", "unserialisable", "nan", "fail", "ok_async"])
def test_a_direct_call_has_the_same_outcome(environment: Environment, task: str) -> None:
    key = f"{task} called"
    called = getattr(environment.tasks, task)(key)
    result = asyncio.run(called) if inspect.iscoroutine(called) else called
    assert outcome(environment.send(task, key)) == (result.ok_value if result.is_ok() else result.err_value)


def check_only_attempt(info: TaskInfo, expected: TaskAttemptOutcome) -> None:
    """Check that the only attempt agrees with the task."""
    assert info.attempts is not None
    [attempt] = info.attempts
    assert (attempt.attempt, attempt.outcome, attempt.will_retry) == (1, expected, False)
    assert attempt.error_code == info.error_code
    assert attempt.error_message == attempt.failed_reason == info.failed_reason
    assert attempt.started_at <= attempt.finished_at == (info.failed_at or info.completed_at)


@pytest.mark.parametrize("task", ["ok", "boom", "exit_now", "slow"])
def test_an_attempt_names_its_worker(environment: Environment, worker: WorkerProcess, task: str) -> None:
    info = info_of(environment.send(task, f"{task} by whom"))
    pid = environment.wait_for_note(f"{task} by whom").pid
    assert info.attempts is not None
    for record in (info, *info.attempts):
        assert (record.worker_hostname, record.worker_pid) == (socket.gethostname(), pid)
        assert str(record.worker_process_name).rpartition("/")[0] == f"{socket.gethostname()}:{worker.pid}"


@pytest.mark.parametrize(
    ("task", "kind", "message"),
    [
        ("boom", "RuntimeError", "boom KEY"),
        ("boom_async", "RuntimeError", "boom KEY"),
        ("boom_mapped", "LookupError", "KEY"),
        ("leave", "SystemExit", "leaving KEY"),
        ("interrupt_async", "KeyboardInterrupt", ""),
    ],
)
def test_an_exception_is_kept_with_its_traceback(environment: Environment, task: str, kind: str, message: str) -> None:
    key = f"{task} traced"
    exception = outcome(environment.send(task, key)).exception
    assert (exception["type"], exception["message"]) == (kind, message.replace("KEY", key))
    assert 'mixed_tasks.py", line' in exception["traceback"]
    assert f"in {task}\n    raise {kind}" in exception["traceback"]
    assert "execute.py" not in exception["traceback"]  # without lines of the library


@pytest.mark.parametrize("task", ["boom_odd", "boom_odd_async"])
@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("dirty", "ValueError: nul \0, lone \\ud800"),
        ("unprintable", "Unprintable"),
        ("cancelled", "CancelledError: by itself"),
        ("timeout", "TimeoutError: raised by the task"),
        ("generator exit", "GeneratorExit"),
        ("group", "BaseExceptionGroup: two"),
        ("memory", "MemoryError"),
    ],
)
def test_odd_exceptions_are_ordinary_outcomes(environment: Environment, task: str, kind: str, says: str) -> None:
    handle = environment.send(task, kind)
    error = outcome(handle)
    assert error.error_code is UNHANDLED
    assert says in error.message
    assert says.partition(":")[0] in error.exception["traceback"]
    assert lives(info_of(handle).worker_pid or 0)


def test_an_endless_recursion_is_an_outcome(environment: Environment) -> None:
    error = outcome(environment.send("recurse", "deep"))
    assert error.error_code is UNHANDLED
    assert "RecursionError" in error.message


@pytest.mark.parametrize("task", ["leave", "leave_async", "interrupt", "interrupt_async", "boom", "slow_async"])
def test_a_child_continues_after_an_ordinary_failure(environment: Environment, task: str) -> None:
    outcome(environment.send(task, f"{task} and on"))
    outcome(environment.send("ok", f"after {task}"))
    assert lives(environment.wait_for_note(f"{task} and on").pid)


def test_exceptions_become_codes_by_the_mappers(environment: Environment) -> None:
    def code(task: str, *args: str) -> object:
        return outcome(environment.send(task, "mapped", *args)).error_code

    assert code("boom_mapped") == "NOT_THERE"
    assert code("boom_own_mapper", "LookupError") == "NOT_IN_SHOP"
    assert code("boom_own_mapper", "KeyError") == "NOT_IN_SHOP"  # a KeyError is a LookupError
    assert code("boom_own_mapper", "OSError") == "SHOP_BROKEN"


def test_data_that_json_cannot_carry_does_not_replace_the_code_that_is_retried(environment: Environment) -> None:
    error = outcome(environment.send("late_payment", "late payment"))
    assert error.error_code == "PAYMENT_LATE"
    assert (error.data["due"], error.data["ratio"]) == ("2026-03-01T00:00:00Z", "NaN")
    assert "lock object" in error.data["lock"]
    assert error.message == "no payment (data holds lock, which JSON cannot represent: it is stored as its repr)"
    assert environment.counts()["late payment"] == 2


def test_an_error_class_of_the_user_is_preserved(environment: Environment) -> None:
    error = outcome(environment.send("fail", "own class"))
    assert type(error) is environment.tasks.ShopError
    assert (error.shop, error.data) == ("side", {"key": "own class"})


def test_models_and_times_are_returned_unchanged(environment: Environment) -> None:
    order = environment.tasks.Order(number=2**70, lines=["ö", "\U0001f40e"])
    when = datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    answer = outcome(environment.send("order", order, when))
    assert type(answer) is environment.tasks.Order
    assert answer.number == 2**70 + 1
    assert answer.lines == ["ö", "\U0001f40e", when.astimezone(UTC).isoformat()]


def test_ten_megabytes_are_sent_and_returned(environment: Environment) -> None:
    payload = "0123456789" * (1 << 20)
    assert outcome(environment.send("big", "big", payload)) == payload[::-1]


def test_arguments_that_no_longer_fit_name_the_parameter(environment: Environment) -> None:
    sent = environment.tasks.ok.with_options(delay=3600).send("too late").unwrap()
    changed = "update horsies.tasks set args = '{\"key\": 5}', run_at = now() where id = %s"
    environment.session.execute(changed, (sent.task_id,))
    environment.send("ok", "wakes the worker")
    error = outcome(sent)
    assert error.error_code is UNSTORABLE
    assert "key" in str(error.message)
    assert environment.counts()["too late"] == 0


def test_a_task_sends_another_one_and_waits_for_it(environment: Environment) -> None:
    assert outcome(environment.send("sender", "outer")) == "inner said done outer:inner"


def test_a_crash_that_the_policy_names_is_retried(environment: Environment, tmp_path: Path) -> None:
    info = info_of(environment.send("survivor", "survivor", str(tmp_path)))
    assert info.status is TaskStatus.COMPLETED
    assert info.result is not None
    assert info.result.ok_value == "second time"
    assert info.attempts is not None
    second, first = info.attempts
    assert (second.outcome, second.will_retry) == (TaskAttemptOutcome.COMPLETED, False)
    assert (first.outcome, first.will_retry) == (TaskAttemptOutcome.WORKER_FAILURE, True)
    assert "SIGKILL" in str(first.error_message)
    assert environment.counts()["survivor"] == 2


def test_a_timeout_that_the_policy_names_is_retried(environment: Environment, tmp_path: Path) -> None:
    info = info_of(environment.send("slow_retried", "slow_retried", str(tmp_path)))
    assert info.status is TaskStatus.COMPLETED
    assert info.attempts is not None
    assert [attempt.error_code for attempt in info.attempts] == [None, TIMED_OUT]


@pytest.mark.parametrize("overdue", ["slow", "slow_async"])
def test_a_timeout_does_not_affect_a_concurrent_task(environment: Environment, overdue: str) -> None:
    other = environment.send("sleep", f"beside {overdue}", 1.5)
    environment.wait_for_note(f"beside {overdue}")
    late = environment.send(overdue, f"{overdue} beside")
    assert outcome(late).error_code is TIMED_OUT
    assert outcome(other) == f"beside {overdue}"


def test_the_exit_of_a_child_is_detected_although_another_process_holds_its_socket(environment: Environment) -> None:
    error = outcome(environment.send("desert", "deserted"))
    assert error.error_code is CRASHED
    assert "exited with code 9" in error.message
    assert outcome(environment.send("ok", "after desert")) == "done after desert"


def test_processes_of_a_task_end_with_its_child(environment: Environment) -> None:
    grandchild = outcome(environment.send("spawn", "spawned"))
    child = environment.wait_for_note("spawned").pid
    assert lives(grandchild)
    psutil.Process(child).kill()
    wait_until(lambda: not lives(grandchild), describe="the end of the process that a task left behind")
