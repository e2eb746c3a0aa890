"""Compilation of a workflow spec into the JSON document from which the database creates a run."""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from horsies.codec.secrets import redact
from horsies.codec.text import decode_json
from horsies.codec.wire import encode_json
from horsies.codes import OnError
from horsies.producer.send import bounded_deadline
from horsies.workflows.nodes import CONTEXT_PARAMETER, META_PARAMETER, AnyNode, is_map
from horsies.workflows.validation.nodes import PlannedNode

if TYPE_CHECKING:
    from horsies.workflows.spec import WorkflowSpec


@dataclass(frozen=True, slots=True)
class CompiledRun:
    """A workflow in the form that is sent to the database.

    Attributes:
        name: The name of the workflow.
        definition_key: The definition key of the workflow; empty if it has none.
        document: The JSON document. It refers to nodes by their indexes.
        fingerprint: The SHA-256 of the document. All starts with the same id must have the same fingerprint.
    """

    name: str
    definition_key: str
    document: bytes
    fingerprint: bytes


def compile_run(spec: "WorkflowSpec[Any]", scrub: Callable[[str], str] | None = None) -> CompiledRun:
    """Compile a spec. This takes about 10 µs per node.

    Args:
        spec: The spec.
        scrub: Replaces secrets in texts: those of the task that builds a child run, whose arguments may be passed on to
            nodes that do not declare them as secret. None: there are none.
    """
    places = spec.index
    policy = spec.success_policy
    head = {
        "name": spec.name,
        "definition_key": spec.definition_key,
        "on_error": OnError(spec.on_error),
        "output": None if spec.output is None else places[spec.output],
        "cases": None if policy is None else [[places[node] for node in case.required] for case in policy.cases],
        "optional": [] if policy is None else [places[node] for node in policy.optional],
    }
    nodes = (_write(node, planned, places, scrub) for node, planned in zip(spec.tasks, spec.plan, strict=True))
    document = with_member(encode_json(head), b"nodes", b"[" + b",".join(nodes) + b"]")
    key = spec.definition_key or ""
    return CompiledRun(spec.name, key, document, hashlib.sha256(document).digest())


def _write(
    node: AnyNode, planned: PlannedNode, places: dict[AnyNode, int], scrub: Callable[[str], str] | None
) -> bytes:
    task, signature = node.task, node.signature()
    over = node if is_map(node) else None
    declared = () if signature is None else signature.parameters
    policy = None if task is None else task.retry_policy
    timeout_ms = task.timeout_ms if task is not None and node.timeout_ms is None else node.timeout_ms
    good_until = bounded_deadline(node.good_until)
    secret_paths = () if signature is None else signature.secret_paths
    of_items = [path for path in secret_paths if over is not None and path[0] == planned.item_parameter]
    public = planned.args
    if secret_paths or scrub is not None:
        complete = decode_json(planned.args)
        shown = redact(complete, secret_paths, scrub)
        public = planned.args if shown == complete else encode_json(shown)
    row: dict[str, Any] = {
        "node_id": planned.node_id,
        "kind": node.kind,
        "task_name": node.task_name,
        "queue": planned.queue,
        "priority": planned.priority,
        "args_from": {parameter: places[source] for parameter, source in node.args_from.items()},
        "ctx_from": None if node.workflow_ctx_from is None else _indexes(node.workflow_ctx_from, places),
        "wants_ctx": CONTEXT_PARAMETER in declared,
        "wants_meta": META_PARAMETER in declared,
        "waits_for": _indexes(dict.fromkeys(node.waits_for), places),
        "join": node.join,
        "min_success": node.min_success,
        "allow_failed_deps": node.allow_failed_deps,
        "good_until": None if good_until is None else good_until.isoformat(),
        "timeout_ms": timeout_ms,
        "retry_policy": None if policy is None else json.loads(policy.to_json()),
        "over": None if over is None else places[over.over],
        "item_parameter": planned.item_parameter,
        "task_key": planned.key if planned.key is None or scrub is None else scrub(planned.key),
        "key_by": planned.key_by,
        "max_parallel": None if over is None else over.max_parallel,
    }
    if of_items:
        row["secret_paths"] = of_items
    written = with_member(encode_json(row), b"args", public)
    return written if public is planned.args else with_member(written, b"secret_args", planned.args)


def _indexes(nodes: Iterable[AnyNode], places: dict[AnyNode, int]) -> list[int]:
    return [places[node] for node in nodes]


def with_member(json_object: bytes, name: bytes, value: bytes) -> bytes:
    """Append a member that is already encoded, so that arguments keep the bytes that the codec wrote."""
    return b'%s,"%s":%s}' % (json_object[:-1], name, value)
