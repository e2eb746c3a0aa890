"""`PayloadPolicy`: limits for the sizes of arguments and results."""

from typing import ClassVar

from pydantic import Field

from horsies.config.base import Settings
from horsies.errors import ErrorCode

_MOST_BYTES = 1_000_000_000
"""The database stores less, so that a higher limit has no effect."""


class PayloadPolicy(Settings):
    """The sizes above which arguments and results are logged, and arguments refused.

    The size is that of the JSON that is stored: the encoded arguments of a task, or its encoded result.

    Attributes:
        warn_bytes: Log larger arguments and results as a WARNING, ``payload.size_exceeded``; None: log none.
        reject_bytes: Refuse larger arguments. A send then fails with PAYLOAD_TOO_LARGE, and the start of a workflow
            with VALIDATION_FAILED. Results are never refused because of this limit. None: refuse only arguments that
            the database cannot store, those of 1,000,000,000 bytes or more.
    """

    default_code: ClassVar[ErrorCode] = ErrorCode.BROKER_INIT_FAILED

    warn_bytes: int | None = Field(default=1_048_576, ge=1, le=_MOST_BYTES)
    reject_bytes: int | None = Field(default=None, ge=1, le=_MOST_BYTES)
