"""Running the app's `@app.around_task` hooks around an attempt."""

import logging
from collections.abc import Generator, Iterator, Sequence
from typing import Any, cast

from horsies.codes import BUILT_IN_CODES, OutcomeCode, TaskAttemptOutcome
from horsies.config.retry import RetryPolicy
from horsies.errors import raised_at
from horsies.events import event
from horsies.masking import mask_secrets
from horsies.tasks.current import CurrentTask
from horsies.tasks.hooks import AroundHook, AttemptOutcome
from horsies.worker.ipc import Report


class Around:
    """The hooks of one attempt: entered in the order of registration, left in reverse order.

    Exceptions of a hook are logged as ``hook.failed`` and do not affect the attempt. A hook that failed before its
    ``yield`` is not left.
    """

    __slots__ = ("_entered", "_task")

    def __init__(self, hooks: Sequence[AroundHook], task: CurrentTask) -> None:
        """Run each hook up to its ``yield``."""
        self._task = task
        self._entered: list[tuple[AroundHook, Iterator[None]]] = []
        for hook in hooks:
            self._enter(hook)

    def leave(self, report: Report, policy: RetryPolicy | None) -> None:
        """Send the outcome to each hook, and run the hook to its end.

        Args:
            report: of the attempt.
            policy: the retry policy of the task's definition, to predict whether the attempt is retried.
        """
        if self._entered:
            outcome = _outcome(report, self._task.attempt, policy)
            for hook, generator in reversed(self._entered):
                self._leave(hook, cast("Generator[None, AttemptOutcome]", generator), outcome)

    def _enter(self, hook: AroundHook) -> None:
        try:
            generator = hook.fn(self._task)
            next(generator)
        except StopIteration:
            return  # the hook returned without a yield: it does not apply to this task
        except BaseException as exception:  # noqa: BLE001 - a hook may raise anything
            self._report_failure(hook, exception)
            return
        self._entered.append((hook, generator))

    def _leave(self, hook: AroundHook, generator: Generator[None, AttemptOutcome], outcome: AttemptOutcome) -> None:
        try:
            generator.send(outcome)
        except StopIteration:
            return
        except BaseException as exception:  # noqa: BLE001 - a hook may raise anything
            self._report_failure(hook, exception, outcome.exception)
            return
        event("hook.failed", level=logging.ERROR, hook=hook, task_id=self._task.id, reason="it yields more than once")
        try:
            generator.close()
        except BaseException as exception:  # noqa: BLE001
            self._report_failure(hook, exception)

    def _report_failure(
        self, hook: AroundHook, exception: BaseException, of_the_task: BaseException | None = None
    ) -> None:
        """Log an exception of a hook. The text of the task's own exception is left out: it may contain arguments."""
        kind = type(exception).__name__
        is_the_tasks = of_the_task is not None and exception in (of_the_task, of_the_task.__cause__)
        fields: dict[str, Any] = {} if is_the_tasks else {"message": self._task.scrubbed(_text(exception))}
        event(
            "hook.failed",
            level=logging.ERROR,
            hook=hook,
            task=self._task.name,
            task_id=self._task.id,
            reason=f"it raised {kind}",
            place=raised_at(exception),
            **fields,
        )


def _text(exception: BaseException) -> str:
    try:
        return mask_secrets(str(exception))
    except BaseException as broken:  # noqa: BLE001 - a broken __str__ must not hide the exception it belongs to
        return f"<__str__ raised {type(broken).__name__}>"


def _outcome(report: Report, attempt: int, policy: RetryPolicy | None) -> AttemptOutcome:
    max_retries = 0 if policy is None else policy.max_retries
    if report.ok:
        return AttemptOutcome(TaskAttemptOutcome.COMPLETED, max_retries=max_retries)
    code = report.error_code
    is_postponed = report.postponed is not None
    return AttemptOutcome(
        TaskAttemptOutcome.POSTPONED if is_postponed else TaskAttemptOutcome.FAILED,
        None if code is None else BUILT_IN_CODES.get(code, code),
        report.exception,
        error=report.error,
        max_retries=max_retries,
        may_retry=not is_postponed and _may_retry(policy, attempt, code),
    )


def _may_retry(policy: RetryPolicy | None, attempt: int, code: str | None) -> bool:
    """Predict what `retry_at` of the database decides. The deadline is not known here."""
    if policy is None or code == OutcomeCode.TASK_CANCELLED:
        return False
    return attempt <= policy.max_retries and code in policy.auto_retry_for
