"""Reports of attempts: a failure, a stopped attempt, and the call that an attempt makes."""

import logging
import traceback
from dataclasses import dataclass
from typing import Any

from horsies.codec.secrets import Scrubber
from horsies.codes import BuiltInTaskCode, OutcomeCode
from horsies.db.operations import MAX_TEXT_BYTES
from horsies.errors import SourceLocation, raised_at
from horsies.events import event
from horsies.plain import escape_surrogates
from horsies.postponement import read_postponement
from horsies.task_result import TaskError
from horsies.tasks.registry import TaskDefinition
from horsies.worker.ipc import Job, Origin, Report, StopCause

_SHORT = 1000


@dataclass(frozen=True, slots=True)
class ReadyCall:
    """A job whose arguments were decoded.

    Attributes:
        job: the job.
        definition: its task.
        args: the positional arguments.
        kwargs: the keyword arguments.
        scrub: replaces the secret arguments in texts; None: the task has none.
    """

    job: Job
    definition: TaskDefinition
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    scrub: Scrubber | None = None


def stopped(
    job: Job, cause: StopCause, exception: BaseException | None = None, *, location: SourceLocation | None = None
) -> Report:
    """Report an attempt that was cancelled or exceeded its time-out, with the exception that its code raised then."""
    if cause is StopCause.CANCELLED:
        return failed(job, OutcomeCode.TASK_CANCELLED, "the task was cancelled", exception, location=location)
    message = f"task {job.task_name} ran longer than {job.timeout_ms} ms"
    return failed(job, OutcomeCode.TASK_TIMEOUT, message, exception, location=location)


def failed(
    job: Job,
    code: BuiltInTaskCode | str,
    message: str,
    exception: BaseException | None = None,
    *,
    location: SourceLocation | None = None,
) -> Report:
    """Report a failed attempt, with an error that can always be stored.

    Args:
        job: the attempt.
        code: the code of the error.
        message: the message of the error.
        exception: the exception of user code; its innermost line in the user's source is the place of the failure.
        location: the place of the failure if there is no exception, or none of its lines is the user's.
    """
    error = TaskError(error_code=code, message=message, exception=exception)
    result = error.to_json()
    if size_in_array(result) >= MAX_TEXT_BYTES:
        error = TaskError(error_code=code, message=f"{message[:_SHORT]}… (the error is too large to be stored)")
        result = error.to_json()
    return Report(
        job.fence,
        ok=False,
        result=result,
        error_code=escape_surrogates(str(code)).replace("\0", ""),  # a text column cannot hold NUL
        exception=exception,
        error=error,
        origin=_origin(exception, location),
    )


def postponed(
    job: Job, error: TaskError, exception: BaseException | None = None, *, location: SourceLocation | None = None
) -> Report:
    """Report an attempt whose task asks to run again later, by an error with a code that says so.

    A value that is ignored, because it is not valid, is logged here by its name only: values may be secret.
    """
    asked = read_postponement(error.error_code, error.data)
    for name in asked.ignored_names:
        event("task.delay_ignored", level=logging.WARNING, task=job.task_name, id=job.fence.task_id, option=name)
    data = {"retry_after": asked.seconds, "scope": str(asked.scope)}
    stored = TaskError(error_code=asked.code, message=asked.message, data=data)
    return Report(
        job.fence,
        ok=False,
        result=stored.to_json(),
        error_code=str(asked.code),
        retry_after=asked.seconds,
        exception=exception,
        error=error,
        origin=_origin(exception, location),
        postponed=asked.scope,
    )


def size_in_array(result: bytes) -> int:
    """Return how many bytes a result takes in the array of results that goes to the database."""
    return len(result) + result.count(b'"') + result.count(b"\\")


def _origin(exception: BaseException | None, location: SourceLocation | None) -> Origin:
    place = (None if exception is None else raised_at(exception)) or location
    return Origin("" if exception is None else type(exception).__name__, "" if place is None else str(place))


def type_and_text(exception: BaseException) -> str:
    """Return the type and the text of an exception."""
    return escape_surrogates("".join(traceback.format_exception_only(exception)).strip())
