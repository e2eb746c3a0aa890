"""Real workers run the tasks of django.tasks, started by `manage.py horsies` or by `horsies worker`."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError
from django.tasks import TaskResult, TaskResultStatus

from horsies import Horsies
from horsies.contrib.django.management.commands.horsies import Command, with_app
from tests.support.leaks import leaks, secrets_in
from tests.support.sessions import open_session
from tests.support.waiting import wait_until
from tests.support.workers import WorkerProcess

MARK = "5ecret-Mark"
ROOT = Path(__file__).parents[2]
MANAGE = ["-m", "django", "horsies"]


def environment(url: str) -> dict[str, str]:
    return {
        "DJANGO_TEST_DATABASE_URL": url,
        "DJANGO_SETTINGS_MODULE": "tests.contrib.settings",
        "PYTHONPATH": str(ROOT),
    }


@pytest.fixture
def manage(tcp_database_url: str, tmp_path: Path) -> Iterator[Any]:
    """Start ``manage.py horsies ARGS…``. Its processes are killed at the end."""
    started: list[WorkerProcess] = []

    def start(*args: str) -> WorkerProcess:
        env = environment(tcp_database_url)
        started.append(WorkerProcess([*MANAGE, *args], tmp_path, env, Path(sys.executable)))
        return started[-1]

    yield start
    for process in started:
        process.kill_all()
        process.assert_gone()


def ended(result: "TaskResult[..., Any]") -> "TaskResult[..., Any]":
    """Wait until a task has ended, and return its result."""

    def look() -> bool:
        result.refresh()
        return result.is_finished

    wait_until(look, 60, lambda: f"the end of {result}")
    return result


@pytest.mark.timeout(120)
def test_a_worker_runs_tasks_with_the_semantics_of_django(manage: Any, django_queue: Horsies) -> None:
    from tests.contrib import tasks  # noqa: PLC0415 - after Django was set up

    worker = manage("worker", "--processes=2")
    worker.wait_until_ready(60)
    sent = [
        tasks.add.enqueue(1, second=2),
        tasks.add_async.enqueue(3, 4),
        tasks.echo.enqueue(None, {"a": (1, 2)}, text="ä"),
        tasks.describe.enqueue("attempt "),
        tasks.query.enqueue(6),
    ]
    values = [ended(result).return_value for result in sent]
    described, worker_ids = values.pop(3), sent[3].worker_ids
    assert values == [3, 7, [[None, {"a": [1, 2]}], {"text": "ä"}], 7]
    assert described == {
        "text": "attempt 1",
        "id": sent[3].id,
        "status": "RUNNING",
        "task": "tests.contrib.tasks.describe",
        "workers": worker_ids,
    }
    assert {result.status for result in sent} == {TaskResultStatus.SUCCESSFUL}
    assert [(result.attempts, result.errors) for result in sent] == [(1, [])] * 5
    first = sent[0]
    assert first.enqueued_at is not None
    assert first.started_at is not None
    assert first.finished_at is not None
    assert first.started_at == first.last_attempted_at <= first.finished_at

    failed = [tasks.order.enqueue("hat"), tasks.order_async.enqueue("hat"), tasks.return_a_set.enqueue()]
    errors = [error for result in failed for error in ended(result).errors]
    assert [error.exception_class for error in errors] == [tasks.OutOfStockError, tasks.OutOfStockError, TypeError]
    assert "raise OutOfStockError(item)" in errors[0].traceback
    assert [result.attempts for result in failed] == [1, 1, 1]
    assert {result.status for result in failed} == {TaskResultStatus.FAILED}

    assert worker.stop() == 0
    log = worker.log()
    assert f"Task id={first.id} path=tests.contrib.tasks.add state=RUNNING" in log
    assert f"Task id={first.id} path=tests.contrib.tasks.add state=SUCCESSFUL" in log
    assert f"Task id={failed[0].id} path=tests.contrib.tasks.order state=FAILED" in log
    assert f"Task id={failed[1].id} path=tests.contrib.tasks.order_async state=FAILED" in log


@pytest.mark.timeout(120)
def test_secrets_of_django_tasks_are_seen_by_the_task_and_its_sender_only(
    manage: Any, django_queue: Horsies, tcp_database_url: str
) -> None:
    """Django's own logger writes the message of the exception as it is, which is left out of the search."""
    from tests.contrib import tasks  # noqa: PLC0415 - after Django was set up

    worker = manage("worker", "--processes=1", "--loglevel=debug")
    worker.wait_until_ready(60)
    charged = [
        tasks.charge.enqueue(f"one {MARK}", cents=2),
        tasks.charge.enqueue(card=f"named {MARK}", options={"pin": f"1234 {MARK}", "note": None}),
    ]
    token, refunded = tasks.issue_token.enqueue(MARK[:3]), tasks.refund.enqueue(f"back {MARK}")
    assert [ended(result).return_value for result in charged] == [
        {"charged": f"one {MARK}", "cents": 2, "options": None},
        {"charged": f"named {MARK}", "cents": 1, "options": {"pin": f"1234 {MARK}", "note": None}},
    ]
    stored = [tasks.charge.get_result(result.id) for result in charged]
    assert stored[0].args == ["[redacted]"]
    assert stored[1].kwargs == {"card": "[redacted]", "options": {"pin": "[redacted]", "note": None}}
    assert ended(token).return_value == f"token of {MARK[:3]} 1"
    [error] = ended(refunded).errors
    assert "no card [redacted]" in error.traceback
    assert worker.stop() == 0
    with open_session(tcp_database_url) as session:
        assert leaks(session, MARK) == []
        assert secrets_in(session, "history", "secret_args", MARK) == 3
        assert secrets_in(session, "history", "secret_result", f"token of {MARK[:3]}") == 1
    assert MARK not in worker.log().replace(f"no card back {MARK}", "")


def test_the_management_command_names_the_app(django_queue: Horsies) -> None:
    app = "horsies.contrib.django.entry:app"
    assert with_app(["worker", "--processes=2"]) == ["worker", app, "--processes=2"]
    assert with_app(["db", "status", "--json"]) == ["db", "status", app, "--json"]
    assert with_app(["tasks", "show", "1"]) == ["tasks", "show", app, "1"]
    assert with_app(["worker", "--help"]) == ["worker", "--help"]
    assert with_app(["unknown"]) == ["unknown"]
    assert with_app([]) == []


def test_the_management_command_needs_a_back_end_of_horsies(django_queue: Horsies) -> None:
    with pytest.raises(CommandError, match="The connection 'unknown' doesn't exist"):
        Command().handle(arguments=["worker"], backend="unknown")
    with pytest.raises(CommandError, match=r"TASKS\['dummy'\] is not a back end of horsies"):
        Command().handle(arguments=["worker"], backend="dummy")
