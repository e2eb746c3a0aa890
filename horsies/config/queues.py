"""Queues of an app: the queue mode, and the settings of one queue."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from horsies.config.base import Settings, show_value
from horsies.errors import ConfigurationError, ErrorCode

_LONGEST_QUEUE_BYTES = 128


class QueueMode(StrEnum):
    """Whether there is one queue named ``default``, or those listed in ``custom_queues``."""

    DEFAULT = "default"
    CUSTOM = "custom"

    def __str__(self) -> str:
        """As it is written in a program."""
        return f"QueueMode.{self.name}"


def _check_queue_name(name: str) -> str:
    if 0 < len(name.encode()) <= _LONGEST_QUEUE_BYTES and name.isprintable() and not {" ", ","} & set(name):
        return name
    message = f"CustomQueueConfig.name {show_value(name)} cannot be a queue's name"
    help_text = f"use 1 to {_LONGEST_QUEUE_BYTES} bytes of printable characters other than space and comma"
    raise ConfigurationError(ErrorCode.CONFIG_INVALID_QUEUE_MODE, message, help_text=help_text)


class CustomQueueConfig(Settings):
    """A queue of an app in ``QueueMode.CUSTOM``.

    Attributes:
        name: unique in the app; up to 128 bytes, without spaces and commas.
        priority: 1 to 100; all due work of priority 1 goes first.
        max_concurrency: tasks of this queue that run at once in the whole cluster; None: no cap; 0: none.
    """

    default_code: ClassVar[ErrorCode] = ErrorCode.CONFIG_INVALID_QUEUE_MODE

    name: Annotated[str, AfterValidator(_check_queue_name)]
    priority: int = Field(default=1, ge=1, le=100)
    max_concurrency: int | None = Field(default=5, ge=0)


DEFAULT_QUEUE = CustomQueueConfig(name="default", priority=100, max_concurrency=None)
