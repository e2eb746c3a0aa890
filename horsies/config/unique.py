"""`Unique`: of which tasks at most one may be live."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

from horsies.errors import ErrorCode, TaskDefinitionError, caller_location, raise_all

type UniqueUntil = Literal["started", "ended"]
type OnConflict = Literal["keep", "replace", "reject"]

_LONGEST_WAIT_S = 100 * 365 * 86_400


@dataclass(frozen=True, slots=True)
class Unique:
    """Makes a task unique: no second one with the same arguments is sent while the first one is live.

    Attributes:
        by: The parameters whose arguments are compared, including defaults; None: all parameters.
        until: "started": at most one such task waits, and the next one can be sent when it has started. "ended": at
            most one waits or runs.
        on_conflict: "keep": the send returns the handle of the live task. "replace": the waiting task gets the
            arguments, the deadline, the priority and the due time of the send, and keeps its id. "reject": the send
            fails with DUPLICATE.
        max_wait: For "replace": how many seconds after its first send a waiting task is due at the latest, however
            often it is replaced; None: no limit.
    """

    by: Sequence[str] | None = None
    until: UniqueUntil = "started"
    on_conflict: OnConflict = "keep"
    max_wait: float | None = None

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
            TaskDefinitionError: HRS-102: A field is invalid. Several problems are raised together as
                `MultipleValidationErrors`.
        """
        problems = [*self._wrong_parameters(), *self._wrong_words(), *self._wrong_wait()]
        location = caller_location()
        raise_all(
            TaskDefinitionError(
                ErrorCode.TASK_INVALID_OPTIONS, f"invalid Unique: {problem}", location=location, help_text=fix
            )
            for problem, fix in problems
        )
        if self.by is not None:
            object.__setattr__(self, "by", tuple(self.by))

    def _wrong_parameters(self) -> list[tuple[str, str]]:
        by = cast("object", self.by)
        if by is None:
            return []
        names = cast("Sequence[object]", by) if isinstance(by, Sequence) and not isinstance(by, str | bytes) else ()
        if names and all(isinstance(each, str) for each in names):
            return []
        return [(f"by must be a tuple of names of parameters, got {by!r}", 'for example by=("user_id",)')]

    def _wrong_words(self) -> list[tuple[str, str]]:
        words = (("until", self.until, UniqueUntil), ("on_conflict", self.on_conflict, OnConflict))
        found: list[tuple[str, str]] = []
        for name, given, kind in words:
            known: tuple[str, ...] = get_args(kind.__value__)
            if given not in known:
                found.append((f"{name} has the value {given!r}", f"use one of {', '.join(map(repr, known))}"))
        return found

    def _wrong_wait(self) -> list[tuple[str, str]]:
        wait = cast("object", self.max_wait)
        if wait is None:
            return []
        if self.on_conflict != "replace":
            return [("max_wait limits how long a task is replaced", 'add on_conflict="replace", or remove max_wait')]
        if isinstance(wait, int | float) and not isinstance(wait, bool) and 0 <= wait <= _LONGEST_WAIT_S:
            return []
        return [(f"max_wait must be a number of seconds, got {wait!r}", "for example max_wait=60")]
