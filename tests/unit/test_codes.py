"""The codes are part of the contract: their names, their families, and their type, plain strings."""

import pytest

from horsies.codes import (
    BUILT_IN_CODES,
    TASK_TERMINAL_STATES,
    WORKFLOW_TASK_TERMINAL_STATES,
    WORKFLOW_TERMINAL_STATES,
    BrokerErrorCode,
    ContractCode,
    HandleErrorCode,
    OnError,
    OperationalErrorCode,
    OutcomeCode,
    RetrievalCode,
    TaskAttemptOutcome,
    TaskSendErrorCode,
    TaskStatus,
    WorkflowStartErrorCode,
    WorkflowStatus,
    WorkflowTaskStatus,
)

FAMILIES = {
    OperationalErrorCode: (
        "UNHANDLED_EXCEPTION TASK_EXCEPTION WORKER_CRASHED BROKER_ERROR WORKER_RESOLUTION_ERROR "
        "WORKER_SERIALIZATION_ERROR RESULT_DESERIALIZATION_ERROR WORKFLOW_ENQUEUE_FAILED SUBWORKFLOW_LOAD_FAILED"
    ),
    ContractCode: "RETURN_TYPE_MISMATCH PYDANTIC_HYDRATION_ERROR WORKFLOW_CTX_MISSING_ID",
    RetrievalCode: "WAIT_TIMEOUT TASK_NOT_FOUND WORKFLOW_NOT_FOUND RESULT_NOT_AVAILABLE RESULT_NOT_READY",
    OutcomeCode: (
        "TASK_CANCELLED TASK_EXPIRED TASK_TIMEOUT RATE_LIMITED SNOOZED WORKFLOW_PAUSED WORKFLOW_FAILED "
        "WORKFLOW_CANCELLED UPSTREAM_SKIPPED SUBWORKFLOW_FAILED WORKFLOW_SUCCESS_CASE_NOT_MET"
    ),
    TaskSendErrorCode: "SEND_SUPPRESSED VALIDATION_FAILED PAYLOAD_TOO_LARGE ENQUEUE_FAILED PAYLOAD_MISMATCH DUPLICATE",
    TaskAttemptOutcome: "COMPLETED FAILED WORKER_FAILURE POSTPONED",
    WorkflowStatus: "PENDING RUNNING PAUSED COMPLETED FAILED CANCELLED",
    WorkflowTaskStatus: "PENDING READY ENQUEUED RUNNING COMPLETED FAILED SKIPPED",
    WorkflowStartErrorCode: ("BROKER_NOT_CONFIGURED VALIDATION_FAILED ENQUEUE_FAILED PAYLOAD_MISMATCH INTERNAL_FAILED"),
    HandleErrorCode: "WORKFLOW_NOT_FOUND DB_OPERATION_FAILED LOOP_RUNNER_FAILED INTERNAL_FAILED",
    TaskStatus: "PENDING CLAIMED RUNNING COMPLETED FAILED CANCELLED EXPIRED",
    BrokerErrorCode: (
        "SCHEMA_INIT_FAILED ENQUEUE_FAILED PAYLOAD_MISMATCH TASK_NOT_FOUND TASK_INFO_QUERY_FAILED "
        "MONITORING_QUERY_FAILED CLEANUP_FAILED CLOSE_FAILED LISTENER_START_FAILED LISTENER_SUBSCRIBE_FAILED NO_BROKER "
        "QUEUE_NOT_KEYED"
    ),
}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_each_family_has_its_members_and_they_are_their_names(family: type[OperationalErrorCode]) -> None:
    assert [member.name for member in family] == FAMILIES[family].split()
    assert all(member == member.name == f"{member}" and isinstance(member, str) for member in family)


def test_every_task_code_is_reserved_once() -> None:
    members = [
        member for family in (OperationalErrorCode, ContractCode, RetrievalCode, OutcomeCode) for member in family
    ]
    assert list(BUILT_IN_CODES.values()) == members
    assert all(BUILT_IN_CODES[str(member)] is member for member in members)


def test_terminal_states_are_the_four_ends() -> None:
    ends = {TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED, TaskStatus.EXPIRED}
    assert ends == TASK_TERMINAL_STATES
    assert {status for status in TaskStatus if status.is_terminal} == ends


def test_runs_and_nodes_of_workflows_have_three_ends_each() -> None:
    assert {str(status) for status in WORKFLOW_TERMINAL_STATES} == {"COMPLETED", "FAILED", "CANCELLED"}
    assert {status for status in WorkflowStatus if status.is_terminal} == WORKFLOW_TERMINAL_STATES
    assert {str(status) for status in WORKFLOW_TASK_TERMINAL_STATES} == {"COMPLETED", "FAILED", "SKIPPED"}
    assert {status for status in WorkflowTaskStatus if status.is_terminal} == WORKFLOW_TASK_TERMINAL_STATES


def test_what_a_failed_node_does_is_written_small() -> None:
    assert (OnError("fail"), OnError("pause")) == (OnError.FAIL, OnError.PAUSE)
