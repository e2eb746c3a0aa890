"""`RateLimit`: how many tasks of a queue, or of one of its keys, start in a time."""

import json
from enum import Enum
from typing import ClassVar, Final, Self

from pydantic import Field

from horsies.config.base import Settings
from horsies.errors import ErrorCode

MOST_TOKENS: Final = 1_000_000
"""The largest limit and the largest burst."""
LONGEST_PERIOD_S: Final = 31 * 86_400
"""The longest period of a rate, in seconds."""


class NoLimit(Enum):
    """The type of `NO_LIMIT`."""

    NO_LIMIT = "none"


NO_LIMIT: Final = NoLimit.NO_LIMIT
"""A limit of a queue that an operator lifts at run time: the queue has none, whatever its app declares."""


class RateLimit(Settings):
    """How many tasks start in a time, in the whole cluster.

    It is a token bucket: each start of an attempt takes a token, the bucket holds ``burst`` tokens when it is full, and
    it is refilled at ``limit / per_seconds`` tokens per second. In any window of t seconds, no more than
    ``burst + t * limit / per_seconds`` attempts start.

    Attributes:
        limit: How many attempts start in ``per_seconds``, from 1 to 1,000,000.
        per_seconds: The period in seconds, up to 31 days.
        burst: How many attempts may start at once after a pause. Default: a tenth of ``limit``, at least 1, so that
            "100 a minute" does not mean 200 in the first minute.
    """

    default_code: ClassVar[ErrorCode] = ErrorCode.CONFIG_INVALID_QUEUE_MODE

    limit: int = Field(ge=1, le=MOST_TOKENS)
    per_seconds: float = Field(gt=0, le=LONGEST_PERIOD_S)
    burst: int | None = Field(default=None, ge=1, le=MOST_TOKENS)

    @property
    def depth(self) -> int:
        """The number of tokens of a full bucket: ``burst``, or its default."""
        return max(1, self.limit // 10) if self.burst is None else self.burst

    def to_json(self) -> str:
        """Return the rate as the table `queues` stores it, with its ``burst``."""
        return json.dumps({"limit": self.limit, "per_seconds": self.per_seconds, "burst": self.depth})

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Return the rate that `to_json` has written."""
        return cls(**json.loads(text))
