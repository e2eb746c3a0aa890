"""Ids that nothing has, most of which are no UUIDs: an answer as for any unknown id, and never an exception."""

import asyncio
from typing import Any

import pytest

from horsies import (
    BrokerErrorCode,
    HandleErrorCode,
    RetrievalCode,
    WorkflowHandle,
    WorkflowStartErrorCode,
    pause_workflow,
    pause_workflow_sync,
    resume_workflow,
    resume_workflow_sync,
)
from horsies.workflows.nodes import NodeKey
from tests.producer.shop import Do, Shop

NOBODY = "01a20a74-694d-77ef-bb11-70dc4b4506ab"
GARBAGE: list[Any] = ["", "five", NOBODY[:-1], f"{NOBODY}0", "%s", "a\0b", "\ud800", None, 5]

pytestmark = pytest.mark.parametrize("unknown", [NOBODY, *GARBAGE], ids=ascii)


def test_of_a_task(do: Do, shop: Shop, unknown: Any) -> None:
    for handle in (shop.app.handle(unknown), shop.add.handle(unknown)):
        assert handle.task_id == str(unknown)
        assert do(handle.get).err_value.error_code is RetrievalCode.TASK_NOT_FOUND
        assert do(handle.info, include_result=True, include_attempts=True).unwrap() is None
        assert do(handle.cancel).unwrap_err().code is BrokerErrorCode.TASK_NOT_FOUND
    refused = do(shop.app.rerun, unknown).unwrap_err()
    assert (refused.code, refused.retryable) == (BrokerErrorCode.TASK_NOT_FOUND, False)
    assert refused.message.startswith("there is no task ")
    assert do(shop.app.get_result, unknown).err_value.error_code is RetrievalCode.TASK_NOT_FOUND


def test_of_a_task_asked_of_the_broker(do: Do, shop: Shop, unknown: Any) -> None:
    broker = shop.app.get_broker()
    assert do(broker.get_result, unknown).err_value.error_code is RetrievalCode.TASK_NOT_FOUND
    assert do(broker.get_task_info, unknown).unwrap() is None
    with asyncio.Runner() as runner:
        assert runner.run(broker.why(unknown)).unwrap().reason == "unknown"


def test_of_a_run(do: Do, shop: Shop, unknown: Any) -> None:
    broker = shop.app.get_broker()
    handle = WorkflowHandle[Any](unknown, broker)
    for outcome in (do(handle.get), do(handle.result_for, NodeKey[Any]("first"))):
        assert outcome.err_value.error_code is RetrievalCode.WORKFLOW_NOT_FOUND
    asked = (handle.status, handle.results, handle.tasks, handle.cancel, handle.pause, handle.resume)
    errors = [do(ask).unwrap_err() for ask in asked]
    errors += [pause_workflow_sync(broker, unknown).unwrap_err(), resume_workflow_sync(broker, unknown).unwrap_err()]
    with asyncio.Runner() as runner:
        errors += [runner.run(move(broker, unknown)).unwrap_err() for move in (pause_workflow, resume_workflow)]
    assert {error.code for error in errors} == {HandleErrorCode.WORKFLOW_NOT_FOUND}
    assert all(error.message.startswith("there is no run ") for error in errors)


def test_of_a_run_that_is_started(shop: Shop, unknown: Any) -> None:
    spec = shop.app.workflow("greeting", [shop.greet.node()("Ada")], definition_key="greeting.v1")
    started = spec.start(workflow_id=unknown)
    if unknown in GARBAGE and unknown is not None:
        assert started.unwrap_err().code is WorkflowStartErrorCode.VALIDATION_FAILED
    else:
        assert started.is_ok()


def test_of_a_schedule_and_a_queue(shop: Shop, unknown: Any) -> None:
    """Names are any text. One that the server cannot store is an error, and so no exception either."""
    broker = shop.app.get_broker()
    cannot_be_stored = unknown in {"a\0b", "\ud800"}
    with asyncio.Runner() as runner:
        for ask in (broker.pause_schedule, broker.resume_schedule, broker.run_schedule):
            answer = runner.run(ask(str(unknown)))
            assert answer.is_err() if cannot_be_stored else answer.unwrap() is None
        listed = runner.run(broker.list_tasks(queue_name=str(unknown), task_name=str(unknown)))
        assert listed.is_err() if cannot_be_stored else listed.unwrap() == []
