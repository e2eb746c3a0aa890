"""`RateLimited` and `Snooze` with real workers: the task runs again later, and no attempt is counted."""

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from horsies import OutcomeCode, SubWorkflowNode, TaskHandle, TaskInfo
from tests.conftest import StartWorker
from tests.support.environment import URL_VARIABLE, load_tasks
from tests.support.proxy import Proxy
from tests.support.sessions import Session, open_session, scalar, works_over_tcp
from tests.support.waiting import wait_until

TASKS = Path(__file__).with_name("postponed_tasks.py")
APP = "postponed_tasks:app"


@pytest.fixture
def tasks(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Return the producer's copy of the app. The copy of the worker is in the same folder."""
    text = TASKS.read_text().replace('.v1"', f'.{tmp_path.name}"')  # keys are unique in this process
    (tmp_path / TASKS.name).write_text(text)
    monkeypatch.chdir(tmp_path)
    module = load_tasks(tmp_path / TASKS.name, {URL_VARIABLE: database_url})
    yield module
    module.app.close()


@pytest.fixture
def session(database_url: str) -> Iterator[Session]:
    with open_session(database_url) as opened:
        yield opened


def info_of(handle: TaskHandle[Any]) -> TaskInfo:
    info = handle.info(include_attempts=True).unwrap()
    assert info is not None
    return info


@pytest.mark.parametrize("how", ["--processes=2", "--concurrency=4"])
def test_every_way_to_answer(
    how: str, tasks: ModuleType, session: Session, database_url: str, start_worker: StartWorker
) -> None:
    session.execute("create table effects (key text)")
    session.execute("grant all on effects to public")
    worker = start_worker(APP, how)
    names = ("returns", "returns_bare", "raises", "raises_async")
    handles = [getattr(tasks, name).send(name, 5).unwrap() for name in names]
    written = tasks.writes.send("writes").unwrap()
    assert [handle.get(timeout_ms=30_000).ok_value for handle in (*handles, written)] == [1] * 5
    starts = Path("starts").read_text().split()
    assert [starts.count(name) for name in (*names, "writes")] == [6] * 4 + [2]
    assert scalar(session, "select count(*) from effects") == 1
    assert scalar(session, "select count(*) from horsies.attempts") == 0
    infos = [info_of(handle) for handle in handles]
    postponed = [info.postponed for info in infos if info.postponed is not None]
    assert [each.count for each in postponed] == [5] * 4
    assert [each.code for each in postponed] == [OutcomeCode.RATE_LIMITED] * 3 + [OutcomeCode.SNOOZED]
    assert [info.retry_count for info in infos] == [0] * 4
    assert [len(info.attempts or ()) for info in infos] == [1] * 4
    line = worker.wait_for_log(r"task\.postponed .*").group()
    assert "attempt=1" in line
    assert "until=" in line
    assert len(worker.log().split("task.postponed")) == 1 + 4 * 5 + 1
    assert worker.stop() == 0


def test_a_task_that_waits_shows_why(tasks: ModuleType, start_worker: StartWorker) -> None:
    worker = start_worker(APP)
    handle = tasks.wrong_value.send("x").unwrap()
    wait_until(lambda: info_of(handle).postponed is not None, 20, "the answer")
    info = info_of(handle)
    assert info.postponed is not None
    assert (info.status, info.attempts, info.next_retry_at) == ("PENDING", [], None)
    assert (info.postponed.code, info.postponed.count) == (OutcomeCode.RATE_LIMITED, 1)
    assert (info.postponed.until - info.postponed.at).total_seconds() == 30
    assert info.enqueued_at == info.postponed.until
    assert "retry_after was ignored, because it must be a number" in str(info.postponed.message)
    worker.wait_for_log(r"task\.delay_ignored .*task=wrong_value .*option=retry_after")
    assert "secret" not in worker.log()
    assert handle.cancel().unwrap() is True


def test_nodes_and_builders_of_sub_workflows(tasks: ModuleType, start_worker: StartWorker) -> None:
    start_worker(APP)
    before = tasks.raises.node(node_id="before")("before", 2)
    child: Any = SubWorkflowNode(tasks.Shipping, waits_for=[before], node_id="child")
    spec = tasks.app.workflow("orders", [before, child], output=child, definition_key="test.orders")
    run = spec.start().unwrap()
    assert run.get(timeout_ms=30_000).ok_value == 1
    starts = Path("starts").read_text().split()
    assert [starts.count(key) for key in ("before", "builder", "inner")] == [3, 2, 2]


def test_a_lost_reply_repeats_nothing(
    tasks: ModuleType, session: Session, tcp_database_url: str, start_worker: StartWorker, proxy: Proxy
) -> None:
    worker = start_worker(APP, env={URL_VARIABLE: proxy.url(tcp_database_url)})
    handle = tasks.waits.send("lost").unwrap()
    wait_until(lambda: Path("starts").exists(), 20, "the start")
    wait_until(lambda: not works_over_tcp(session), 20, "a worker that waits")
    proxy.stall("to client")
    Path("lost.go").touch()
    wait_until(
        lambda: scalar(session, "select postponed is not null from horsies.tasks where id = %s", handle.task_id),
        20,
        "the outcome to be committed",
    )
    proxy.cut()
    proxy.resume()
    assert handle.get(timeout_ms=30_000).ok_value == 1
    assert Path("starts").read_text().split() == ["lost"] * 2
    assert info_of(handle).attempts is not None
    worker.wait_for_log(r"connection\.restored")
    assert "outcomes.stale" not in worker.log()
    assert worker.stop() == 0


def test_a_worker_that_is_killed_before_its_answer_is_stored_has_crashed(
    tasks: ModuleType, session: Session, database_url: str, start_worker: StartWorker
) -> None:
    worker = start_worker(APP)
    handle = tasks.waits.send("killed").unwrap()
    wait_until(lambda: Path("starts").exists(), 20, "the start")
    with session.transaction():
        session.execute("select from horsies.tasks for update")
        Path("killed.go").touch()
        with open_session(database_url) as observer:
            wait_until(
                lambda: scalar(
                    observer, "select count(*) from pg_stat_activity where query like '%%horsies.finish(%%'"
                ),
                20,
                "the answer to be sent",
            )
        worker.kill_all()
    start_worker(APP)
    assert handle.get(timeout_ms=30_000).ok_value == 2
    assert [attempt.error_code for attempt in info_of(handle).attempts or ()] == [None, "WORKER_CRASHED"]
