"""What `drain` has done."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class RanAttempt:
    """One attempt that `drain` has run.

    Attributes:
        task_name: The name of the task.
        task_id: The id of the task.
        attempt: The number of the attempt, from 1.
        error_code: The code with which it failed; None if it succeeded.
        retry_at: When the task is tried again; None if it has ended.
        at: The time of the database at which the attempt was started.
        lost: Whether the attempt was lost at a point that `TestQueue.crash` named, so that its outcome is not known.
    """

    task_name: str
    task_id: str
    attempt: int
    error_code: str | None
    retry_at: datetime | None
    at: datetime
    lost: bool = False

    @property
    def ok(self) -> bool:
        """Whether the attempt succeeded."""
        return self.error_code is None and not self.lost


@dataclass(slots=True)
class DrainReport:
    """The attempts and the other work of a call of `drain`.

    It is true if anything has happened, and its length is the number of attempts.

    Attributes:
        attempts: The attempts, in the order in which they ran.
        expired: The number of tasks that were not started by their ``good_until``.
        scheduled: The number of tasks that schedules have sent.
    """

    attempts: list[RanAttempt] = field(default_factory=list[RanAttempt])
    expired: int = 0
    scheduled: int = 0

    @property
    def failures(self) -> list[RanAttempt]:
        """The attempts that failed or were lost."""
        return [each for each in self.attempts if not each.ok]

    def __len__(self) -> int:
        """Return the number of attempts."""
        return len(self.attempts)

    def __bool__(self) -> bool:
        """Whether anything has happened."""
        return bool(self.attempts or self.expired or self.scheduled)

    def __iter__(self) -> Iterator[RanAttempt]:
        """Iterate over the attempts."""
        return iter(self.attempts)
