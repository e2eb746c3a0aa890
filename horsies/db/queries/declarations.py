"""Calls about what apps have declared about their tasks, for sending from SQL."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import NamedTuple
from uuid import UUID

from horsies.db.operations import Call, many, nothing

_REGISTER = (
    "select horsies.register_tasks(%s::uuid, %s, %s::text[], %s::text[], %s::text[], %s::int[], %s::text[], %s::int[],"
    " %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[])"
)
_DIGEST_LENGTH = 32
_VERSION_LENGTH = 12


@dataclass(frozen=True, slots=True)
class TaskDeclaration:
    """The declaration of a task, in the form of the database.

    Attributes:
        task_name: the name of the task.
        queue: its queue.
        priority: the priority of that queue.
        retry_policy: its retry policy as JSON; None: failed attempts are not retried.
        timeout_ms: how long an attempt may run, in milliseconds; None: no limit.
        parameters: a JSON Schema of the object of its arguments.
        parameter_names: the names of its parameters, as a JSON array.
        required_names: the names of those without a default, as a JSON array.
        defaults: the encoded defaults by parameter, as a JSON object. It lacks defaults that cannot be sent.
        uniqueness: in what the task is unique, as a JSON object; None: any number of tasks may be live.
        key_by: the name of the parameter that is its key, or an array of names, as JSON; None: it has no declared key.
        secret_paths: the paths to its secret arguments, as a JSON array of arrays; None: it has none.
    """

    task_name: str
    queue: str
    priority: int
    retry_policy: str | None
    timeout_ms: int | None
    parameters: str
    parameter_names: str
    required_names: str
    defaults: str
    uniqueness: str | None
    key_by: str | None
    secret_paths: str | None

    @property
    def digest(self) -> str:
        """A hash of the declaration, which is the same for the same declaration of any app version."""
        return hashlib.sha256(json.dumps(astuple(self)).encode()).hexdigest()[:_DIGEST_LENGTH]


@dataclass(frozen=True, slots=True)
class Declarations:
    """The declarations of an app.

    Attributes:
        app_version: the version of the app that it names; None: it names none.
        tasks: one declaration for each task.
    """

    app_version: str | None
    tasks: Sequence[TaskDeclaration]

    @property
    def version(self) -> str:
        """The version of the app, or else a hash of its declarations."""
        digests = "".join(sorted(task.digest for task in self.tasks))
        return self.app_version or hashlib.sha256(digests.encode()).hexdigest()[:_VERSION_LENGTH]


class DeclaredDifference(NamedTuple):
    """A row of `horsies.declared_differences`: live workers whose declaration of a task is not the current one.

    Attributes:
        task_name: the name of the task.
        current_version: the app version that registered the task last.
        live_version: the app version of the workers.
        workers: the number of these workers.
        differing: what differs, in words.
    """

    task_name: str
    current_version: str
    live_version: str
    workers: int
    differing: list[str]


def register_tasks(worker_id: UUID | None, declared: Declarations) -> Call[None]:
    """Register declarations, of a worker that has registered or of none."""
    tasks = sorted(declared.tasks, key=lambda task: task.task_name)
    params = (
        worker_id,
        declared.version,
        [task.digest for task in tasks],
        [task.task_name for task in tasks],
        [task.queue for task in tasks],
        [task.priority for task in tasks],
        [task.retry_policy for task in tasks],
        [task.timeout_ms for task in tasks],
        [task.parameters for task in tasks],
        [task.parameter_names for task in tasks],
        [task.required_names for task in tasks],
        [task.defaults for task in tasks],
        [task.uniqueness for task in tasks],
        [task.key_by for task in tasks],
        [task.secret_paths for task in tasks],
    )
    return Call(_REGISTER, params, nothing)


def declared_differences() -> Call[list[DeclaredDifference]]:
    """Return where declarations of live workers differ from the current ones."""
    return Call("select * from horsies.declared_differences()", (), many(DeclaredDifference))
