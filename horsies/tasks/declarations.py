"""The declarations of the tasks of an app, in the form in which workers and `horsies db register` store it."""

from collections.abc import Mapping

from horsies.codec.text import encode_json
from horsies.config.app import AppConfig
from horsies.config.unique import Unique
from horsies.db.queries.declarations import Declarations, TaskDeclaration
from horsies.db.queries.flow import QueueFlow
from horsies.tasks.registry import Registry, TaskDefinition

_BUILT_IN = "horsies."


def declarations_of(config: AppConfig, registry: Registry) -> Declarations:
    """Return the declarations of all tasks of an app, without the built-in tasks of workflows."""
    priorities = {queue.name: queue.priority for queue in config.queues}
    names = [name for name in registry.names if not name.startswith(_BUILT_IN)]
    return Declarations(config.named_version, [_declare(registry.get(name), priorities) for name in names])


def flow_of(config: AppConfig) -> tuple[QueueFlow, ...]:
    """Return what an app declares about the keys and rates of its queues."""
    return tuple(
        QueueFlow(
            name=queue.name,
            takes_turns=queue.is_keyed,
            per_key=queue.max_concurrency_per_key,
            rate=None if queue.rate_limit is None else queue.rate_limit.to_json(),
            rate_per_key=None if queue.rate_limit_per_key is None else queue.rate_limit_per_key.to_json(),
        )
        for queue in config.queues
    )


def _declare(definition: TaskDefinition, priorities: Mapping[str, int]) -> TaskDeclaration:
    signature, policy = definition.signature, definition.retry_policy
    names = list(signature.parameters)
    return TaskDeclaration(
        task_name=definition.name,
        queue=definition.queue_name,
        priority=priorities[definition.queue_name],
        retry_policy=None if policy is None else policy.to_json().decode(),
        timeout_ms=definition.timeout_ms,
        parameters=encode_json(signature.json_schema()).decode(),
        parameter_names=encode_json(names).decode(),
        required_names=encode_json([name for name in names if name in signature.required]).decode(),
        defaults=signature.encode_defaults().decode(),
        uniqueness=None if definition.unique is None else _describe(definition.unique, names),
        key_by=None if definition.key_by is None else encode_json(definition.key_by).decode(),
        secret_paths=encode_json(signature.secret_paths).decode() if signature.secret_paths else None,
    )


def _describe(unique: Unique, parameters: list[str]) -> str:
    """Return the uniqueness of a task as JSON, with the names of the compared parameters."""
    by = parameters if unique.by is None else list(unique.by)
    facts = {"by": by, "until": unique.until, "on_conflict": unique.on_conflict, "max_wait": unique.max_wait}
    return encode_json(facts).decode()
