"""Unusual inputs and behaviour of tasks: each ends with the right outcome, and the worker continues."""

import math
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from horsies import TaskHandle, TaskSendErrorCode
from horsies.codes import BuiltInTaskCode, OperationalErrorCode
from tests.support.databases import new_database
from tests.support.environment import URL_VARIABLE, Environment, load_tasks, new_environment
from tests.support.server import Server
from tests.support.waiting import wait_until
from tests.support.workers import WorkerProcess, lives

TASKS = Path(__file__).with_name("odd_tasks.py")
UNHANDLED = OperationalErrorCode.UNHANDLED_EXCEPTION
CRASHED = OperationalErrorCode.WORKER_CRASHED
UNSTORABLE = OperationalErrorCode.WORKER_SERIALIZATION_ERROR
MODES = ["--concurrency=1", "--concurrency=4"]
MEGABYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class Stage:
    """A worker with one child, and the producer's copy of its tasks."""

    environment: Environment
    worker: WorkerProcess
    tasks: ModuleType

    def send(self, task: str, *args: object, **kwargs: object) -> TaskHandle[Any]:
        return getattr(self.tasks, task).send(*args, **kwargs).unwrap()

    def check_continues(self, why: str) -> set[int]:
        """Check that tasks of both kinds still run once each, and that there are no extra processes."""
        keys = [f"{why} {number}" for number in range(6)]
        before = self.environment.counts()
        sent = [self.send(task, key) for key in keys for task in ("plain", "plain_async")]
        ran_in = {outcome(handle) for handle in sent}
        begun = self.environment.counts() - before
        assert begun == dict.fromkeys(keys, 2)
        wait_until(lambda: len(self.worker.processes()) == 3, describe=lambda: f"3 of {self.worker.processes()}")
        return ran_in


def stage_on(server: Server, template: str, folder: Path, *args: str) -> Iterator[Stage]:
    with new_database(server, template) as url, new_environment(url, folder) as environment:
        shutil.copy(TASKS, folder)
        env = {URL_VARIABLE: url, "TEST_LEDGER": str(environment.ledger_file)}
        tasks = load_tasks(folder / TASKS.name, env)
        worker = environment.worker(*args, app="odd_tasks:app")
        worker.wait_until_ready()
        yield Stage(environment, worker, tasks)
        tasks.app.close()
        assert worker.stop() == 0
        worker.assert_gone()


@pytest.fixture(scope="module", params=MODES, ids=["one", "several"])
def stage(
    request: pytest.FixtureRequest, server: Server, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """Yield a worker that the tests share, one for each mode."""
    yield from stage_on(server, template, tmp_path_factory.mktemp("odd"), request.param)


def outcome(handle: TaskHandle[Any]) -> Any:
    result = handle.get(timeout_ms=20_000)
    return result.ok_value if result.is_ok() else result.err_value


def depth(value: Any) -> int:
    """Return the depth of nested lists, which are too deep for a comparison."""
    levels = 0
    while value:
        [value] = value
        levels += 1
    return levels


def nested(levels: int) -> Any:
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


EVERY_PLANE = "".join(chr(plane << 16 | low) for plane in range(17) for low in (0, 1, 0x41, 0xFFFD, 0xFFFE, 0xFFFF))


VALUES = {
    "every plane": EVERY_PLANE,
    "keys of every plane": {EVERY_PLANE: [EVERY_PLANE]},
    "the first characters": "".join(map(chr, range(0x250))),
    "nul": "\0",
    "nul in keys": {"\0": "\0\0", "": None},
    "marks": "\u202e\u0301\ufeff\x7f\x85\u2028",
    "4000 digits": 10**4000,
    "64 bits and more": [-(2**63), 2**63 - 1, 2**64, -(2**64), 2**53 + 1],
    "floats": [0.1, 1e308, 5e-324, -1e-7, 1e22],
    "a million items": list(range(1_000_000)),
    "many keys": {str(number): number for number in range(100_000)},
    "10 MB": "x" * 10 * MEGABYTE,
    "much to escape": ['ö\0\n"\\' * 100_000],
    "nested": nested(150),
}


@pytest.mark.parametrize("what", VALUES)
def test_a_value_is_returned_unchanged(stage: Stage, what: str) -> None:
    assert outcome(stage.send("echo", VALUES[what])) == VALUES[what]


def test_a_negative_zero_stays_negative(stage: Stage) -> None:
    assert math.copysign(1, outcome(stage.send("echo", -0.0))) == -1


def test_a_thousand_parameters(stage: Stage) -> None:
    numbers = range(stage.tasks.WIDTH)
    assert outcome(stage.send("wide", *numbers)) == sum(numbers)
    assert outcome(stage.send("wide", **{f"p{number}": number for number in numbers})) == sum(numbers)


@pytest.mark.parametrize("levels", [190, 198, 199, 200, 201, 250, 500, 900, 1000, 5_000, 100_000])
def test_a_nested_value_is_returned_or_refused(stage: Stage, levels: int) -> None:
    sent = stage.tasks.echo.send(nested(levels))
    if sent.is_ok():
        assert depth(outcome(sent.ok_value)) == levels
    else:
        assert sent.err_value.code is TaskSendErrorCode.VALIDATION_FAILED
        assert re.search("deep|depth|recursion", sent.err_value.message)


@pytest.mark.parametrize(
    "value",
    [[10**5000], "\ud800", {"\udfff": 1}, [math.nan], {"a": {1: object()}}],
    ids=["digits", "surrogate", "surrogate in a key", "nan", "object"],
)
def test_a_value_without_a_json_form_is_refused_at_once(stage: Stage, value: Any) -> None:
    sent = stage.tasks.echo.send(value)
    assert sent.err_value.code is TaskSendErrorCode.VALIDATION_FAILED
    assert sent.err_value.message.startswith("value")


@pytest.mark.parametrize("levels", [300, 2_000])
def test_a_stored_argument_that_is_too_deep_fails_the_task(stage: Stage, levels: int) -> None:
    sent = stage.tasks.echo.with_options(delay=3600).send("fine").unwrap()
    args = '{"value": ' + "[" * levels + "]" * levels + "}"
    stage.environment.session.execute(
        "update horsies.tasks set args = %s, run_at = now() where id = %s", (args, sent.task_id)
    )
    stage.check_continues(f"a stored argument of {levels} levels")
    assert outcome(sent).error_code is UNSTORABLE


@pytest.mark.parametrize(
    ("task", "kind"),
    [
        ("odd", "prints_100_megabytes"),
        ("odd", "closes_the_standard_streams"),
        ("odd", "replaces_the_standard_streams"),
        ("odd", "changes_directory"),
        ("odd", "deletes_its_directory"),
        ("odd", "handles_signals"),
        ("odd", "changes_the_process"),
        ("odd", "changes_the_interpreter"),
        ("odd", "changes_the_module_path"),
        ("odd", "leaks_threads"),
        ("odd", "closes_the_loop"),
        ("odd", "runs_a_loop_of_its_own"),
        ("odd", "uses_all_files"),
        ("odd_async", "leaves_background_tasks"),
        ("odd_async", "stops_the_loop"),
        ("odd_async", "cancels_itself_and_goes_on"),
        ("odd_async", "leaves_a_task_that_exits"),
    ],
)
def test_changes_of_a_task_to_its_process_affect_no_other_task(stage: Stage, task: str, kind: str) -> None:
    assert outcome(stage.send(task, kind)) == "fine"
    stage.check_continues(kind)


@pytest.mark.parametrize("kind", ["cancels_all_tasks", "cancels_other_tasks"])
def test_a_task_that_another_task_cancels_has_an_outcome(stage: Stage, kind: str) -> None:
    local_workers = [stage.send(task, f"{kind} beside {task}", 0.5) for task in ("nap", "nap_async")]
    stage.environment.wait_for_note(f"{kind} beside nap")
    ends = [outcome(handle) for handle in (*local_workers, stage.send("odd_async", kind))]
    assert {getattr(end, "error_code", None) for end in ends} <= {None, CRASHED, UNHANDLED}
    stage.check_continues(kind)


def test_an_alarm_affects_no_other_task(stage: Stage) -> None:
    assert outcome(stage.send("odd", "leaves_an_alarm")) == "fine"
    assert outcome(stage.send("nap", "undisturbed", 0.4)) == "undisturbed"


@pytest.mark.parametrize(
    ("task", "kind", "status"),
    [
        ("odd", "forks_and_returns", 0),
        ("odd", "forks_and_raises", 1),
        ("odd", "forks_and_exits", 3),
        ("odd_async", "forks_a_loop_and_returns", 0),
        ("odd_async", "forks_a_loop_and_raises", 1),
        ("odd_async", "forks_a_loop_and_exits", 3),
        ("odd_async", "forks_a_loop_and_waits", 70),
    ],
)
def test_a_forked_copy_that_returns_from_a_task_ends(stage: Stage, task: str, kind: str, status: int) -> None:
    local_workers = [stage.send("nap_async", f"beside {kind} {number}", 0.1) for number in range(3)]
    assert outcome(stage.send(task, kind)) == status
    pids = {outcome(handle) for handle in local_workers} | stage.check_continues(kind)
    assert len(pids) == 1
    begun = stage.environment.counts()
    assert {begun[f"beside {kind} {number}"] for number in range(3)} == {1}


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("closes_all_files", "child process"),
        ("becomes_another_program", "SIGKILL"),
        ("aborts", "SIGABRT"),
    ],
)
def test_a_task_that_ends_its_process_affects_no_other_task(stage: Stage, kind: str, says: str) -> None:
    error = outcome(stage.send("odd", kind))
    assert error.error_code is CRASHED
    assert says in error.message
    stage.check_continues(kind)


@pytest.mark.parametrize(
    ("task", "kind", "code", "says"),
    [
        ("odd", "starts_a_session", UNHANDLED, "PermissionError"),
        ("odd", "asks_for_an_exabyte", UNHANDLED, "MemoryError"),
        ("odd", "raises_the_unprintable", UNHANDLED, "Broken"),
        ("odd", "raises_what_exits_when_printed", UNHANDLED, "Broken"),
        ("odd", "raises_ten_megabytes", UNHANDLED, "x" * 10 * MEGABYTE),
        ("odd", "raises_a_circle", UNHANDLED, "ValueError: first"),
        ("odd", "raises_a_long_chain", UNHANDLED, "ValueError: 2999"),
        ("odd", "raises_a_deep_group", UNHANDLED, "ExceptionGroup"),
        ("odd", "raises_odd_notes", UNHANDLED, "ValueError: noted"),
        ("odd", "returns_the_rude", UNSTORABLE, "odd"),
        ("odd", "returns_a_lone_surrogate", UNSTORABLE, "lone surrogate"),
        ("odd", "returns_a_circle", UNSTORABLE, "odd"),
        ("odd", "returns_a_deep_list", UNSTORABLE, "depth"),
        ("odd", "returns_too_many_digits", UNSTORABLE, "digits"),
        ("odd_async", "closes_its_loop", UNHANDLED, "RuntimeError"),
        ("odd_async", "runs_a_loop_in_a_loop", UNHANDLED, "RuntimeError"),
        ("odd_async", "waits_for_a_task_that_exits", UNHANDLED, "SystemExit: bye"),
    ],
)
def test_a_failure_of_any_shape_is_an_outcome(
    stage: Stage, task: str, kind: str, code: BuiltInTaskCode, says: str
) -> None:
    [pid] = stage.check_continues(f"before {kind}")
    error = outcome(stage.send(task, kind))
    assert error.error_code is code
    assert says in error.message, error.message[:500]
    assert stage.check_continues(kind) == {pid}


def test_a_result_of_ten_megabytes(stage: Stage) -> None:
    assert outcome(stage.send("odd", "returns_ten_megabytes")) == "ö" * 5 * MEGABYTE


@pytest.mark.parametrize("code", ["X" * 70_000, "ö\0", ""], ids=["long", "nul", "empty"])
def test_an_odd_error_code_is_kept(stage: Stage, code: str) -> None:
    assert outcome(stage.send("odd_error", code)).error_code == code


def test_processes_that_a_task_leaves_running_end_with_its_child(stage: Stage) -> None:
    [pid] = stage.check_continues("before it leaves a process")
    assert outcome(stage.send("odd", "leaves_a_process")) == "fine"
    assert outcome(stage.send("odd", "aborts")).error_code is CRASHED
    wait_until(lambda: not lives(pid), describe="the end of the child")
    stage.check_continues("after it left a process")
