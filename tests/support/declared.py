"""Declarations of tasks, registered as workers and `horsies db register` do."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from uuid import UUID

from horsies.config.retry import RetryPolicy
from horsies.config.unique import Unique
from horsies.db.queries.declarations import Declarations, TaskDeclaration, register_tasks
from tests.support.sessions import Session, call


def declaration(
    name: str = "add",
    *,
    names: Sequence[str] = ("a", "b"),
    required: Sequence[str] = ("a",),
    queue: str = "default",
    priority: int = 100,
    retry: RetryPolicy | None = None,
    timeout_ms: int | None = None,
    unique: Unique | None = None,
    key_by: str | tuple[str, ...] | None = None,
    secret_paths: Sequence[Sequence[str]] | None = None,
) -> TaskDeclaration:
    """Return what an app declares about a task ``add(a, b=2)``."""
    compared = None if unique is None else {**asdict(unique), "by": list(unique.by or names)}
    return TaskDeclaration(
        task_name=name,
        queue=queue,
        priority=priority,
        retry_policy=None if retry is None else retry.to_json().decode(),
        timeout_ms=timeout_ms,
        parameters=json.dumps({"type": "object", "properties": {each: {} for each in names}}),
        parameter_names=json.dumps(list(names)),
        required_names=json.dumps(list(required)),
        defaults=json.dumps(dict.fromkeys([each for each in names if each not in required], 2)),
        uniqueness=None if compared is None else json.dumps(compared),
        key_by=None if key_by is None else json.dumps(key_by),
        secret_paths=None if secret_paths is None else json.dumps(secret_paths),
    )


def declare(
    session: Session, *tasks: TaskDeclaration, version: str | None = "v1", worker_id: UUID | None = None
) -> None:
    """Register the declarations of an app."""
    call(session, register_tasks(worker_id, Declarations(version, tasks)))
