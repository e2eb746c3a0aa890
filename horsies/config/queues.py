"""Queues of an app: the queue mode, and the settings of one queue."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from horsies.config.base import Settings, show_value
from horsies.config.rates import RateLimit
from horsies.errors import ConfigurationError, ErrorCode

LAST_PRIORITY = 100
"""The lowest priority of a queue or a task; 1 is the highest."""

_LONGEST_QUEUE_BYTES = 128


class QueueMode(StrEnum):
    """Whether an app has one queue named ``default``, or the queues listed in ``custom_queues``."""

    DEFAULT = "default"
    CUSTOM = "custom"

    def __str__(self) -> str:
        """Show the member as it is written in source code."""
        return f"QueueMode.{self.name}"


def _check_queue_name(name: str) -> str:
    if 0 < len(name.encode()) <= _LONGEST_QUEUE_BYTES and name.isprintable() and not {" ", ","} & set(name):
        return name
    message = f"CustomQueueConfig.name {show_value(name)} is not a valid queue name"
    help_text = f"use 1 to {_LONGEST_QUEUE_BYTES} bytes of printable characters other than space and comma"
    raise ConfigurationError(ErrorCode.CONFIG_INVALID_QUEUE_MODE, message, help_text=help_text)


class CustomQueueConfig(Settings):
    """A queue of an app in ``QueueMode.CUSTOM``.

    Attributes:
        name: The name, unique in the app: 1 to 128 bytes of printable characters, without spaces and commas.
        priority: 1 to 100; 1 is the highest. Workers claim all due tasks of a higher priority first. Default: 1.
        max_concurrency: How many tasks of this queue run at the same time in the whole cluster. None: no limit; 0: no
            task starts. Default: 5.
        max_concurrency_per_key: How many tasks of one key run at the same time in the whole cluster. Default: no limit.
        rate_limit: How many attempts of this queue start in a time. Default: no limit.
        rate_limit_per_key: How many attempts of one key start in a time. Default: no limit.
        takes_turns: Whether the keys of the queue take turns within one priority. A queue with a setting per key always
            does so. Default: False.
    """

    default_code: ClassVar[ErrorCode] = ErrorCode.CONFIG_INVALID_QUEUE_MODE

    name: Annotated[str, AfterValidator(_check_queue_name)]
    priority: int = Field(default=1, ge=1, le=LAST_PRIORITY)
    max_concurrency: int | None = Field(default=5, ge=0)
    max_concurrency_per_key: int | None = Field(default=None, ge=1)
    rate_limit: RateLimit | None = None
    rate_limit_per_key: RateLimit | None = None
    takes_turns: bool = False

    @property
    def is_keyed(self) -> bool:
        """Whether the keys of the queue take turns."""
        return self.takes_turns or self.max_concurrency_per_key is not None or self.rate_limit_per_key is not None


DEFAULT_QUEUE = CustomQueueConfig(name="default", priority=LAST_PRIORITY, max_concurrency=None)
