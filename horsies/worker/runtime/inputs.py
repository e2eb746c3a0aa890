"""Inputs of a task in a workflow: results of other nodes, metadata and context, merged into its arguments."""

from collections.abc import Mapping
from typing import Any

from horsies.codec.text import decode_json, encode_json
from horsies.db.operations import Runner
from horsies.db.queries import workflows as workflow_queries
from horsies.tasks.registry import Registry, TaskDefinition
from horsies.worker.ipc import Job
from horsies.workflows.built_in_tasks import MAP_TASK, require_answer
from horsies.workflows.context import WorkflowContext
from horsies.workflows.nodes import CONTEXT_PARAMETER, META_PARAMETER


def read_inputs(job: Job, runner: Runner) -> dict[str, Any] | None:
    """Return what a job gets besides its arguments, mostly from its workflow run, as plain data; None: nothing.

    Raises:
        CallFailedError: the inputs were too large for the job, and the database did not return them.
    """
    if not job.inputs or job.task_name == MAP_TASK:  # the tasks of its items receive them
        return None
    inputs = decode_json(job.inputs)
    if "args_from" in inputs:
        return inputs
    call = workflow_queries.workflow_inputs(inputs["workflow_id"], inputs["index"])
    return {**inputs, **decode_json(runner.run(require_answer(call)))}


def merge_inputs(job: Job, definition: TaskDefinition, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a job with results of other nodes inserted as ``{"ok": …}`` or ``{"err": …}``.

    Raises:
        InvalidJson: the arguments are not JSON.
    """
    call: dict[str, Any] = decode_json(job.args)
    for name, passed in inputs["args_from"].items():
        call[name] = {"ok" if passed["status"] == "COMPLETED" else "err": passed["result"]}
    declared = definition.signature.parameters
    if META_PARAMETER in declared and inputs["workflow_id"] is not None:  # a rerun belongs to no run
        names = {"workflow_id": "workflow_id", "task_index": "index", "task_name": "task_name"}
        call[META_PARAMETER] = {name: inputs[source] for name, source in names.items()}
    if CONTEXT_PARAMETER in declared:
        call[CONTEXT_PARAMETER] = None
    return call


def decode_merged(
    call: Mapping[str, Any], definition: TaskDefinition, registry: Registry, inputs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Decode arguments that were merged with inputs, and add the context of the workflow run.

    Raises:
        CodecError: the arguments do not fit the signature.
    """
    args, kwargs = definition.signature.decode_call(encode_json(call))
    if CONTEXT_PARAMETER in definition.signature.parameters and inputs["ctx"] is not None:
        kwargs[CONTEXT_PARAMETER] = WorkflowContext(inputs, registry.result_codec)
    return args, kwargs
