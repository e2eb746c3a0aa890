"""Checks the sizes of arguments and results against a `PayloadPolicy`. No message contains a value."""

import logging

from horsies.config.payload import PayloadPolicy
from horsies.db.operations import MAX_TEXT_BYTES
from horsies.events import event

_SEND_REMEDY = "store the data elsewhere, and pass a reference to it"
_RETURN_REMEDY = "store the data elsewhere, and return a reference to it"


def wrong_size(policy: PayloadPolicy, task_name: str, size: int) -> str | None:
    """Return why the arguments of a task are too large to be sent, or None if they are not.

    Args:
        policy: The limits of the app.
        task_name: The name of the task.
        size: The size of the encoded arguments, in bytes.
    """
    limit = policy.reject_bytes
    if limit is not None and size > limit:
        rule = f"PayloadPolicy.reject_bytes allows {limit:,}"
    elif size >= MAX_TEXT_BYTES:
        rule = f"the database stores less than {MAX_TEXT_BYTES:,}"
    else:
        return None
    return f"the encoded arguments of task {task_name!r} have {size:,} bytes, and {rule}: {_SEND_REMEDY}"


class LargeArguments:
    """Counts arguments that exceed ``warn_bytes``, so that many sends at once log one warning for each task."""

    def __init__(self, policy: PayloadPolicy) -> None:
        self._limit = policy.warn_bytes
        self._found: dict[str, tuple[int, int]] = {}  # by the name of the task: how many, and the size of the largest

    def note(self, task_name: str, size: int) -> None:
        """Count the arguments of a task if they exceed the limit."""
        if self._limit is not None and size > self._limit:
            count, largest = self._found.get(task_name, (0, 0))
            self._found[task_name] = (count + 1, max(largest, size))

    def log(self) -> None:
        """Log one warning for each task: how many of its sends exceed the limit, and the size of the largest."""
        for task_name, (count, largest) in self._found.items():
            _warn(
                task=task_name,
                content="arguments",
                **({"count": count} if count > 1 else {}),
                bytes=largest,
                warn_bytes=self._limit,
                hint=_SEND_REMEDY,
            )


def warn_of_arguments(policy: PayloadPolicy, task_name: str, size: int) -> None:
    """Log a warning if the encoded arguments of a task exceed ``warn_bytes``."""
    large = LargeArguments(policy)
    large.note(task_name, size)
    large.log()


def warn_of_result(policy: PayloadPolicy, size: int, **facts: object) -> None:
    """Log a warning if the encoded result of an attempt exceeds ``warn_bytes``.

    Args:
        policy: The limits of the app.
        size: The size of the encoded result, in bytes.
        facts: The name and id of the task, and the number of the attempt.
    """
    if policy.warn_bytes is not None and size > policy.warn_bytes:
        _warn(**facts, content="result", bytes=size, warn_bytes=policy.warn_bytes, hint=_RETURN_REMEDY)


def _warn(**fields: object) -> None:
    event("payload.size_exceeded", level=logging.WARNING, **fields)
