"""Workflows from start to result, with real workers."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from uuid_utils.compat import uuid4

from horsies import (
    Err,
    NodeKey,
    Ok,
    OnError,
    OutcomeCode,
    RetrievalCode,
    SubWorkflowError,
    SubWorkflowNode,
    SubWorkflowSummary,
    TaskNode,
    WorkflowHandle,
    WorkflowStartErrorCode,
    WorkflowStatus,
    WorkflowTaskStatus,
    from_node,
    pause_workflow_sync,
    resume_workflow_sync,
    start_workflow,
)
from tests.conftest import StartWorker
from tests.support.environment import load_tasks
from tests.support.pooler import pooled_variables
from tests.support.proxy import Proxy
from tests.support.waiting import wait_until

TASKS = Path(__file__).with_name("flow_tasks.py")
LONG_MS = 30_000


@pytest.fixture
def flows(database_url: str, tmp_path: Path) -> Iterator[ModuleType]:
    """Return the producer's copy of the app. The copy of the worker is in ``tmp_path``."""
    text = TASKS.read_text().replace('.v1"', f'.{tmp_path.name}"')  # keys are unique in this process
    (tmp_path / TASKS.name).write_text(text)
    module = load_tasks(tmp_path / TASKS.name, pooled_variables(database_url))
    yield module
    module.app.close()


@pytest.fixture
def worker(start_worker: StartWorker, flows: ModuleType, tmp_path: Path) -> Any:
    assert flows
    started = start_worker("flow_tasks:app", "--processes=2", env={"TEST_LEDGER": str(tmp_path / "ledger")})
    started.wait_until_ready()
    return started


def begin(spec: Any) -> WorkflowHandle[Any]:
    return spec.start().unwrap()


def states(handle: WorkflowHandle[Any]) -> dict[str, str]:
    return {info.node_id: info.status for info in handle.tasks().unwrap()}


@pytest.mark.usefixtures("worker")
class TestOneWorker:
    """All steps run on one worker, because starting a worker takes longest."""

    def test_everything_once(self, flows: ModuleType) -> None:
        check_chain_and_fan_out(flows)
        check_recovery(flows)
        check_joins(flows)
        check_retry(flows)
        check_context(flows)
        check_large_results(flows)
        check_maps(flows)
        check_children(flows)
        check_open_parameters(flows)
        check_errors_of_children(flows)
        check_errors_of_own_classes(flows)
        check_pause_for_review(flows)
        check_on_error_pause(flows)
        check_cancel(flows)
        check_starts(flows)


def check_chain_and_fan_out(flows: ModuleType) -> None:
    assert begin(flows.chain(20)).get(LONG_MS).unwrap() == 20
    handle = begin(flows.fan_out(30))
    assert handle.get(LONG_MS).unwrap() == 4
    assert handle.status() == Ok(WorkflowStatus.COMPLETED)
    assert len(handle.results().unwrap()) == 32


def check_recovery(flows: ModuleType) -> None:
    handle = begin(flows.recovery())
    error = handle.get(LONG_MS).unwrap_err()
    assert (error.error_code, error.message) == ("BOOM", "as requested")
    assert handle.result_for(NodeKey[str]("recovered")).unwrap() == "BOOM"
    assert handle.result_for(NodeKey[int]("skipped")).unwrap_err().error_code is OutcomeCode.UPSTREAM_SKIPPED
    assert states(handle) == {"broken": "FAILED", "skipped": "SKIPPED", "recovered": "COMPLETED"}


def check_joins(flows: ModuleType) -> None:
    good, bad = flows.number.node(node_id="good")(3), flows.fail.node(node_id="bad")()
    either = flows.number.node(node_id="either", join="any", waits_for=[good, bad])(7)
    most = flows.number.node(node_id="most", join="quorum", min_success=2, waits_for=[good, bad, either])(8)
    spec = flows.app.workflow("joins", [good, bad, either, most], output=most, definition_key="test.joins")
    handle = begin(spec)
    assert handle.get(LONG_MS).unwrap_err().error_code == "BOOM"
    assert handle.result_for(most).unwrap() == 8


def check_retry(flows: ModuleType) -> None:
    flaky = flows.flaky.node()()
    assert begin(flows.app.workflow("flaky", [flaky], output=flaky, definition_key="f")).get(LONG_MS).unwrap() == 3


def check_context(flows: ModuleType) -> None:
    look = TaskNode(flows.look, waits_for=[flows.FIRST], workflow_ctx_from=[flows.FIRST])
    spec = flows.app.workflow("context", [flows.FIRST, look], output=look, definition_key="c")
    assert begin(spec).get(LONG_MS).unwrap() == "5 1 look"


def check_large_results(flows: ModuleType) -> None:
    large = flows.large.node()(3_000_000)
    length = flows.length.node()(from_node(large))
    spec = flows.app.workflow("large", [large, length], output=length, definition_key="l")
    assert begin(spec).get(LONG_MS).unwrap() == 3_000_000


def check_maps(flows: ModuleType) -> None:
    assert begin(flows.mapped(0)).get(LONG_MS).unwrap() == [0, 0]
    spec = flows.mapped(21, 4)
    handle = begin(spec)
    assert handle.get(LONG_MS).unwrap() == [5 * sum(range(0, 21, 2)), 10]
    items = WorkflowHandle[Any](handle.workflow_id, flows.app.get_broker()).result_for(NodeKey[Any]("each")).unwrap()
    assert [item.ok for item in items[:4]] == [0, None, 10, None]


def check_children(flows: ModuleType) -> None:
    handle = begin(flows.nested())
    assert handle.get(LONG_MS).unwrap() == 42
    anonymous = WorkflowHandle[Any](handle.workflow_id, flows.app.get_broker())
    assert anonymous.result_for(NodeKey[int]("child")).unwrap() == 41
    for seen in (handle, anonymous):
        factor, child, _ = seen.tasks().unwrap()
        assert (factor.sub_workflow_id, factor.sub_workflow_summary) == (None, None)
        assert child.sub_workflow_id is not None
        inner = WorkflowHandle[int](child.sub_workflow_id, flows.app.get_broker())
        assert inner.get(LONG_MS).unwrap() == 41
        assert child.sub_workflow_summary == SubWorkflowSummary(WorkflowStatus.COMPLETED, 41, 2, 2, 0, 0)
    broken = SubWorkflowNode(workflow_def=flows.Failing, node_id="broken")
    unbuilt = SubWorkflowNode(workflow_def=flows.Unbuilt, node_id="unbuilt")
    failing = begin(flows.app.workflow("failing", [broken, unbuilt], definition_key="x"))
    failing.get(LONG_MS)
    error = failing.result_for(broken).unwrap_err()
    assert isinstance(error, SubWorkflowError)
    assert error.sub_workflow_summary is not None
    assert (error.error_code, error.sub_workflow_summary.failed_tasks) == (OutcomeCode.SUBWORKFLOW_FAILED, 1)
    assert error.sub_workflow_summary.error_summary == "as requested"
    shown, not_built = failing.tasks().unwrap()
    assert (shown.sub_workflow_id, shown.sub_workflow_summary) == (error.sub_workflow_id, error.sub_workflow_summary)
    assert (not_built.sub_workflow_id, not_built.sub_workflow_summary) == (None, None)
    load = failing.result_for(unbuilt).unwrap_err()
    assert load.error_code == "SUBWORKFLOW_LOAD_FAILED"
    assert "there is no unbuilt" in str(load.message)


def check_open_parameters(flows: ModuleType) -> None:
    two = flows.number.node(node_id="two")(2)
    child = SubWorkflowNode(
        flows.Open, kwargs={"first": 3, "second": 4}, args_from={"third": two}, waits_for=[two], node_id="child"
    )
    positional = SubWorkflowNode(flows.PositionalOnly, kwargs={"definition": 5}, node_id="positional")
    handle = begin(flows.app.workflow("open", [two, child, positional], definition_key="test.open-parent"))
    assert handle.get(LONG_MS).is_ok()
    assert handle.result_for(child).unwrap() == "3 second=4 third=2"
    assert handle.result_for(positional).unwrap() == 5


def check_errors_of_children(flows: ModuleType) -> None:
    child = SubWorkflowNode(flows.MayFail, node_id="child")
    handle = begin(flows.app.workflow("may fail", [child], output=child, definition_key="test.may-fail-parent"))
    for result in (handle.get(LONG_MS), handle.result_for(child)):
        assert (result.unwrap_err().error_code, result.unwrap_err().message) == ("BOOM", "as requested")


def check_errors_of_own_classes(flows: ModuleType) -> None:
    refused = flows.pay.node(node_id="refused")(-5)
    skipped = flows.pay.node(node_id="skipped", waits_for=[refused])(5)
    explained = [
        flows.explain.node(node_id=f"explained-{index}", allow_failed_deps=True)(from_node(node))
        for index, node in enumerate((refused, skipped))
    ]
    found = flows.numbers.node(node_id="found")(2)
    each = flows.pay_or_crash.map(over=from_node(found), node_id="each")()
    listed = flows.explain_all.node(node_id="listed")(from_node(each))
    nodes = [refused, skipped, *explained, found, each, listed]
    handle = begin(flows.app.workflow("payments", nodes, definition_key="test.payments"))
    handle.get(LONG_MS)
    assert handle.result_for(refused).unwrap_err().amount == -5
    assert [handle.result_for(node).unwrap() for node in explained] == ["REFUSED of -5", "UPSTREAM_SKIPPED"]
    assert handle.result_for(listed).unwrap() == ["REFUSED of 0", "WORKER_CRASHED"]
    sent = flows.pay.send(-3).unwrap()
    assert sent.get(LONG_MS).unwrap_err().amount == -3


def check_pause_for_review(flows: ModuleType) -> None:
    slow, after = flows.sleep.node(node_id="slow")(0.5), flows.number.node(node_id="after")(2)
    after = TaskNode(flows.number, waits_for=[slow], node_id="after")
    handle = begin(flows.app.workflow("review", [slow, after], output=after, definition_key="r"))
    broker = flows.app.get_broker()
    assert handle.result_for(after).unwrap_err().error_code is RetrievalCode.RESULT_NOT_READY
    assert pause_workflow_sync(broker, handle.workflow_id) == Ok(True)
    assert handle.pause() == Ok(False)
    assert handle.get().unwrap_err().error_code is OutcomeCode.WORKFLOW_PAUSED
    wait_until(lambda: states(handle)["slow"] in {"COMPLETED", "ENQUEUED"})
    assert resume_workflow_sync(broker, handle.workflow_id) == Ok(True)
    assert handle.get(LONG_MS).unwrap() == 1


def check_on_error_pause(flows: ModuleType) -> None:
    handle = begin(flows.recovery(OnError.PAUSE))
    assert handle.get(LONG_MS).unwrap_err().error_code is OutcomeCode.WORKFLOW_PAUSED
    assert states(handle)["recovered"] == "READY"
    assert handle.resume() == Ok(True)
    assert handle.get(LONG_MS).unwrap_err().error_code == "BOOM"


def check_cancel(flows: ModuleType) -> None:
    slow = flows.sleep.node(node_id="slow")(60.0)
    after = TaskNode(flows.number, waits_for=[slow], node_id="after")
    handle = begin(flows.app.workflow("cancel", [slow, after], definition_key="k"))
    wait_until(lambda: states(handle)["slow"] == WorkflowTaskStatus.RUNNING, 20)
    assert handle.get(1).unwrap_err().error_code is RetrievalCode.WAIT_TIMEOUT
    assert handle.cancel() == Ok(True)
    assert handle.cancel() == Ok(False)
    assert handle.get(LONG_MS).unwrap_err().error_code is OutcomeCode.WORKFLOW_CANCELLED
    assert handle.result_for(slow).unwrap_err().error_code is OutcomeCode.TASK_CANCELLED
    assert begin(flows.chain(2)).get(LONG_MS).unwrap() == 2  # the child was replaced


def check_starts(flows: ModuleType) -> None:
    run_id = str(uuid4())
    assert flows.chain(3).start(run_id).unwrap().get(LONG_MS).unwrap() == 3
    assert flows.chain(3).start(run_id).unwrap().get(LONG_MS).unwrap() == 3
    match flows.chain(4).start(run_id):
        case Err(error):
            assert (error.code, error.retryable) == (WorkflowStartErrorCode.PAYLOAD_MISMATCH, False)
        case Ok(other):
            pytest.fail(f"started {other}")
    assert flows.chain(1).start("no id").unwrap_err().code is WorkflowStartErrorCode.VALIDATION_FAILED
    assert start_workflow(flows.chain(2), flows.app.get_broker()).unwrap().get(LONG_MS).unwrap() == 2
    missing = WorkflowHandle[Any](str(uuid4()), flows.app.get_broker())
    assert missing.get().unwrap_err().error_code is RetrievalCode.WORKFLOW_NOT_FOUND
    assert missing.cancel().unwrap_err().code == "WORKFLOW_NOT_FOUND"


@pytest.mark.parametrize("how", ["--processes=1", "--concurrency=2"])
def test_results_that_cannot_be_read_at_once_are_retried(
    start_worker: StartWorker, flows: ModuleType, proxy: Proxy, tcp_database_url: str, how: str
) -> None:
    worker = start_worker("flow_tasks:app", how, env={"HORSIES_DATABASE_URL": proxy.url(tcp_database_url)})
    worker.wait_until_ready()
    assert begin(flows.chain(2)).get(LONG_MS).is_ok()
    proxy.refuse()  # the worker is connected, but its children are not yet
    large = flows.large.node(node_id="large")(3_000_000)
    length = flows.length.node(node_id="length")(from_node(large))
    handle = begin(flows.app.workflow("large", [large, length], output=length, definition_key="l"))
    wait_until(lambda: states(handle)["length"] != "PENDING", 20, lambda: f"{states(handle)}")
    assert handle.get(1000).unwrap_err().error_code is RetrievalCode.WAIT_TIMEOUT
    proxy.accept()
    assert handle.get(LONG_MS).unwrap() == 3_000_000


def test_a_worker_that_is_killed_loses_no_run(start_worker: StartWorker, flows: ModuleType) -> None:
    handles = [begin(spec) for spec in (flows.mapped(12, 3), flows.nested(), flows.chain(30)) for _ in range(3)]
    first = start_worker("flow_tasks:app", "--processes=2")
    first.wait_until_ready()
    wait_until(lambda: any("COMPLETED" in states(handle).values() for handle in handles), 20)
    os.kill(first.pid, signal.SIGKILL)
    second = start_worker("flow_tasks:app", "--processes=2")
    second.wait_until_ready()
    for handle in handles:
        result = handle.get(LONG_MS)
        assert result.is_ok() or result.unwrap_err().error_code in {"WORKER_CRASHED", OutcomeCode.SUBWORKFLOW_FAILED}, (
            result,
            states(handle),
        )
