"""`Count`: a number of tasks, with how it is known."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Accuracy(StrEnum):
    """How a number is known.

    Attributes:
        EXACT: Counted when it was asked for.
        COUNTED: Too many to be counted at each question: the last count of maintenance.
        AT_LEAST: Too many to be counted at each question, and maintenance has not counted them yet.
    """

    EXACT = "exact"
    COUNTED = "counted"
    AT_LEAST = "at_least"


@dataclass(frozen=True, slots=True)
class Count:
    """A number of tasks.

    Attributes:
        number: The number; if ``accuracy`` is AT_LEAST, there may be more.
        accuracy: How the number is known.
        counted_at: When they were counted, by the clock of the database.
    """

    number: int
    accuracy: Accuracy
    counted_at: datetime

    @classmethod
    def of(cls, number: int, accuracy: str, counted_at: datetime | None, clock: datetime) -> "Count":
        """Make a count from the columns of a row. ``counted_at`` is the time of a count of maintenance."""
        known = Accuracy(accuracy)
        return cls(number, known, (counted_at if known is Accuracy.COUNTED else None) or clock)
