"""Idempotency keys and unique tasks: the checks and the encoding of a send, and what the answers mean."""

from collections.abc import Mapping

from horsies.codec.problems import show_value
from horsies.codes import TaskSendErrorCode
from horsies.config.unique import Unique
from horsies.db.operations import UNSET, Unset
from horsies.db.queries.tasks import EnqueueRequest, SendAnswer, UniqueRequest
from horsies.tasks.registry import TaskDefinition

_MOST_KEY_BYTES = 512

DEADLOCK, LOCK_TIMEOUT = "40P01", "55P03"
"""The codes with which the server ends the wait for another transaction that has the key or the unique task."""


REFUSALS = {
    "mismatch": TaskSendErrorCode.PAYLOAD_MISMATCH,
    "other_args": TaskSendErrorCode.PAYLOAD_MISMATCH,
    "duplicate": TaskSendErrorCode.DUPLICATE,
    "isolation": TaskSendErrorCode.VALIDATION_FAILED,
}
"""The error code for each verdict with which the database refuses a send."""


def wrong_key(key: object) -> str | None:
    """Return why an idempotency key is invalid, or None if it is valid."""
    if key is None:
        return None
    size = len(key.encode(errors="replace")) if isinstance(key, str) and key.isprintable() else 0
    if 1 <= size <= _MOST_KEY_BYTES:
        return None
    return (
        f"idempotency_key must be a text of 1 to {_MOST_KEY_BYTES} bytes of printable characters, got {show_value(key)}"
    )


def unique_of(definition: TaskDefinition, given: object) -> Unique | None:
    """Return the uniqueness of a send: the one that was passed, or else that of the task."""
    return definition.unique if isinstance(given, Unset) else given if isinstance(given, Unique) else None


def wrong_unique(definition: TaskDefinition, given: object) -> str | None:
    """Return why the option ``unique`` is invalid for a task, or None if it is valid."""
    if given is UNSET or given is None:
        return None
    if not isinstance(given, Unique):
        return f"unique must be a Unique, got {show_value(given)}"
    unknown = [name for name in given.by or () if name not in definition.signature.parameters]
    return None if not unknown else f"unique compares {unknown[0]!r}, but the task has no such parameter"


def encode_unique(
    definition: TaskDefinition, unique: Unique | None, args: tuple[object, ...], kwargs: Mapping[str, object]
) -> UniqueRequest | None:
    """Encode in what a task must be unique; None if it is not.

    Raises:
        CodecError: An argument does not bind or does not have the declared type.
    """
    if unique is None:
        return None
    compared = definition.signature.encode_compared(args, kwargs, unique.by)
    return UniqueRequest(compared, unique.until, unique.on_conflict, unique.max_wait)


def describe_refusal(request: EnqueueRequest, answer: SendAnswer) -> str:
    """Return why the database has refused a send."""
    match answer.verdict:
        case "mismatch":
            return f"the id {request.task_id} belongs to another request"
        case "other_args":
            return f"the idempotency key belongs to the task {answer.task_id}, which was sent with other arguments"
        case "duplicate":
            until = "" if request.unique is None else request.unique.until
            state = "waits or runs" if until == "ended" else "waits"
            return f"the unique task {request.task_name} {state} already, as the task {answer.task_id}"
        case _:
            return (
                "idempotency keys and unique tasks need a READ COMMITTED transaction, and that of connection= has "
                "another isolation level: change it, or send outside of the transaction"
            )


def request_facts(idempotency_key: str | None, unique: UniqueRequest | None, key: str | None) -> dict[str, object]:
    """Return what the fingerprint of a request with a key or of a unique task contains in addition."""
    facts: dict[str, object] = {}
    if key is not None:
        facts["key"] = key
    if idempotency_key is not None:
        facts["idempotency_key"] = idempotency_key
    if unique is not None:
        facts["unique"] = [unique.args.decode(), unique.until, unique.on_conflict, unique.max_wait]
    return facts
