"""`drain` runs tasks in the process of the test, as a worker would."""

import asyncio
import bdb
import logging
import os
import signal
import sys
import threading
from types import FrameType
from typing import Any
from uuid import uuid4

import pytest

from horsies import AppConfig, Horsies, OutcomeCode, PostgresConfig, TaskError, TaskNode, TaskResult
from horsies.testing import (
    DrainLimitError,
    DrainRefusedError,
    NotEndedError,
    ProcessExitRefusedError,
    QueueTestError,
    TestQueue,
)
from tests.testing import shop
from tests.testing.shop import (
    Address,
    Order,
    add,
    add_async,
    app,
    chain,
    divide,
    double,
    fails_twice,
    leave,
    look_around,
    send_email,
    ship,
    slow,
)


def test_a_task_runs_in_this_process_and_this_thread(queue: TestQueue) -> None:
    assert queue.run(look_around).unwrap() == os.getpid()
    assert shop.seen["thread"] == threading.get_ident()


def test_async_tasks_run_on_a_loop_that_lasts(queue: TestQueue) -> None:
    assert queue.run(add_async, 1).unwrap() == 2
    loop = shop.seen["loop"]
    assert queue.run(add_async, 1, b=4).unwrap() == 5
    assert shop.seen["loop"] is loop


def test_tasks_that_tasks_send_run_too(queue: TestQueue) -> None:
    assert queue.run(ship, Order(7, ["tea"]), Address(city="Bern", street="Kramgasse")).unwrap() == "Bern"
    queue.assert_sent(send_email, "order-7@example.org")
    assert [each.task_name for each in queue.outcomes()] == ["ship", "send_email"]
    assert queue.outcomes()[0].args["order"] == Order(7, ["tea"])


def test_a_report_lists_the_attempts(queue: TestQueue) -> None:
    fails_twice.send().unwrap()
    report = queue.drain()
    [attempt] = report
    assert (attempt.task_name, attempt.attempt, attempt.error_code, attempt.ok) == (
        "fails_twice",
        1,
        "UNAVAILABLE",
        False,
    )
    assert attempt.retry_at is not None
    assert (len(report), bool(report), len(report.failures)) == (1, True, 1)
    assert not queue.drain()


def test_nothing_runs_before_drain(queue: TestQueue) -> None:
    handle = add.send(1).unwrap()
    assert queue.outcomes() == []
    queue.drain()
    assert handle.get(timeout_ms=0).unwrap() == 2


def test_a_run_that_has_not_ended_says_why(queue: TestQueue) -> None:
    with pytest.raises(NotEndedError, match=r"task fails_twice has not ended after 1 attempt: attempt 1 failed"):
        queue.run(fails_twice)


def test_endless_tasks_reach_the_limit(queue: TestQueue) -> None:
    chain.send(100).unwrap()
    with pytest.raises(DrainLimitError, match=r"(?s)has run 5 attempts.*chain: 5 times.*drain\(limit=50\)"):
        queue.drain(limit=5)
    assert len(queue.drain()) == 96


def test_drain_says_that_its_condition_was_never_true(queue: TestQueue) -> None:
    fails_twice.send().unwrap()
    with pytest.raises(NotEndedError, match=r"(?s)until has not returned True.*fails_twice: once.*UNAVAILABLE: once"):
        queue.drain(until=lambda: False)
    with pytest.raises(NotEndedError, match=r"No task ran\."):
        queue.drain(until=lambda: False)
    assert not queue.drain(until=lambda: True)


@pytest.mark.parametrize("until", [5, asyncio.sleep])
def test_the_condition_of_drain_is_a_function(queue: TestQueue, until: Any) -> None:
    with pytest.raises(TypeError, match="drain takes until=a def function"):
        queue.drain(until=until)


def test_a_task_that_is_defined_after_the_first_drain_runs(queue: TestQueue) -> None:
    queue.drain()
    name = f"defined_late_{uuid4()}"

    @app.task(name)
    def defined_late() -> TaskResult[int, TaskError]:
        return TaskResult(ok=5)

    assert queue.run(defined_late).unwrap() == 5


def test_a_task_that_cannot_be_sent_is_named(queue: TestQueue) -> None:
    wrong: Any = add
    with pytest.raises(QueueTestError, match=r"the task add was not sent: VALIDATION_FAILED: a: expected int, got str"):
        queue.run(wrong, "one")
    with pytest.raises(QueueTestError, match=r"the task add was not sent: VALIDATION_FAILED: add\(\) is missing"):
        queue.run(wrong)
    with pytest.raises(TypeError, match=r"start takes a workflow.*got <task 'add'>; queue\.run\(…\) runs a task"):
        queue.start(wrong)


def test_unwrap_shows_where_a_task_has_raised(queue: TestQueue) -> None:
    result = queue.run(divide, 0)
    with pytest.raises(ValueError, match="UNHANDLED_EXCEPTION") as caught:
        result.unwrap()
    [note] = caught.value.__notes__
    assert f'File "{shop.__file__}"' in note
    assert "1 // by" in note


def test_drain_stops_when_asked_to(queue: TestQueue) -> None:
    chain.send(5).unwrap()
    assert len(queue.drain(until=lambda: len(queue.outcomes()) == 2)) == 2
    assert len(queue.drain()) == 4


def test_a_time_out_is_judged_afterwards(queue: TestQueue) -> None:
    assert queue.run(slow, 0.15).unwrap_err().error_code is OutcomeCode.TASK_TIMEOUT
    assert queue.run(slow, 0).is_ok()


@pytest.mark.parametrize("how", ["_exit", "kill", "raise_signal"])
def test_a_task_cannot_end_the_process_of_the_test(queue: TestQueue, how: str) -> None:
    leave.send(how).unwrap()
    with pytest.raises(ProcessExitRefusedError, match=rf"{how}.*queue\.worker\(\)"):
        queue.drain()
    assert queue.run(add, 1).is_ok()


@pytest.mark.parametrize("how", ["exit", "interrupt"])
def test_exits_of_python_are_outcomes_as_in_a_worker(queue: TestQueue, how: str) -> None:
    assert queue.run(leave, how).is_err()


def test_ctrl_c_ends_the_test(queue: TestQueue) -> None:
    slow.send(5).unwrap()
    threading.Timer(0.3, signal.pthread_kill, [threading.main_thread().ident, signal.SIGINT]).start()
    with pytest.raises(KeyboardInterrupt):
        queue.drain()


async def _drained_wrongly(queue: TestQueue) -> None:
    queue.drain()


async def _drained(queue: TestQueue) -> tuple[object, list[int]]:
    first = (await add_async.send_async(1)).unwrap()
    second = (await look_around.send_async()).unwrap()
    await queue.drain_async()
    values = [(await first.get_async()).unwrap(), (await second.get_async()).unwrap()]
    return shop.seen["loop"] is asyncio.get_running_loop(), values


def test_in_a_loop_drain_refers_to_drain_async(queue: TestQueue) -> None:
    with pytest.raises(DrainRefusedError, match=r"await queue\.drain_async\(\)"):
        asyncio.run(_drained_wrongly(queue))
    assert asyncio.run(_drained(queue)) == (True, [2, os.getpid()])


def test_pytest_outcomes_in_tasks_are_those_of_the_test(queue: TestQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> int:
        pytest.fail("a task has called this")

    monkeypatch.setattr("tests.testing.shop.os.getpid", fail)
    look_around.send().unwrap()
    with pytest.raises(pytest.fail.Exception, match="a task has called this"):
        queue.drain()


def test_a_workflow_runs_to_its_end(queue: TestQueue) -> None:
    first = TaskNode(fn=add, kwargs={"a": 1}, node_id="first")
    second = TaskNode(fn=double, args_from={"before": first}, waits_for=[first], node_id="second")
    run = queue.start(app.workflow("sum", [first, second], output=second, definition_key="sum.v1"))
    assert run.status == "COMPLETED"
    assert run.result.unwrap() == 4
    queue.assert_not_sent(add)
    with pytest.raises(QueueTestError, match="no node 'third'; its nodes: first, second"):
        run.node("third")
    assert run.node("first").result is not None
    assert [node.node_id for node in run.nodes] == ["first", "second"]


def test_other_threads_use_the_database_of_the_test(queue: TestQueue) -> None:
    thread = threading.Thread(target=lambda: add.send(5).unwrap())
    thread.start()
    thread.join()
    queue.assert_sent(add, 5)


def test_the_schema_of_the_app_is_made_in_the_database_of_the_test(database_url: str) -> None:
    other = Horsies(AppConfig(broker=PostgresConfig(database_url=shop.NOWHERE, schema="another one")))

    @other.task("one")
    def one() -> TaskResult[int, TaskError]:
        return TaskResult(ok=1)

    with TestQueue(other, database_url=database_url) as queue:
        assert queue.run(one).unwrap() == 1
        queue.advance("1 day")
        assert queue.run(one).unwrap() == 1
        queue.assert_sent(one, count=2)


def test_a_breakpoint_stops_the_time(queue: TestQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.breakpointhook", lambda: None)
    monkeypatch.setattr(shop, "threading", _BreaksWhileWaiting)
    assert queue.run(slow, 0.2).is_ok()


def test_a_debugger_stops_the_time(queue: TestQueue) -> None:
    debugger = bdb.Bdb()
    debugger.reset()
    before = sys.gettrace()
    sys.settrace(debugger.trace_dispatch)
    try:
        result = queue.run(slow, 0.15)
    finally:
        sys.settrace(before)
    assert result.is_ok()


def test_logs_and_traces_of_tasks_are_those_of_the_test(queue: TestQueue, caplog: pytest.LogCaptureFixture) -> None:
    called: list[str] = []

    def trace(frame: FrameType, _event: str, _argument: object) -> None:
        called.append(frame.f_code.co_name)

    name = f"logs_{uuid4()}"

    @app.task(name)
    def logs() -> TaskResult[None, TaskError]:
        logging.getLogger("shop").warning("the stock is low")
        return TaskResult(ok=None)

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        queue.run(logs)
    finally:
        sys.settrace(before)
    assert "logs" in called
    assert "the stock is low" in caplog.messages


class _BreaksWhileWaiting:
    """Reaches a breakpoint in place of waiting for an event."""

    class Event:
        def wait(self, seconds: float) -> None:
            breakpoint()  # noqa: T100
            threading.Event().wait(seconds)


def test_the_app_gets_its_own_database_back(database_url: str) -> None:
    before = app.config
    with TestQueue(app, database_url=database_url) as queue:
        assert queue.run(add, 1).is_ok()
        assert app.config.broker.masked_url() != before.broker.masked_url()
    assert app.config is before
    assert app.producer.runner.database.config is before.broker
