"""Which database errors may go away by themselves."""

import psycopg
from psycopg import errors
from psycopg_pool import PoolTimeout

from horsies.db.operations import CallFailedError

# The server, or the way to it, is away, busy or full; the same call may succeed later.
RETRYABLE = (
    psycopg.OperationalError,  # connection lost or refused, server shutting down, too many connections, disk full
    psycopg.InterfaceError,  # the connection was closed under us
    errors.SerializationFailure,
    errors.DeadlockDetected,
    errors.ReadOnlySqlTransaction,  # a standby, after a fail-over
    PoolTimeout,
    TimeoutError,  # no answer, though the connection seems to stand
)
# Subclasses of OperationalError that will not.
FINAL = (
    errors.InvalidPassword,
    errors.InvalidAuthorizationSpecification,
    errors.InvalidCatalogName,
    errors.ProgramLimitExceeded,
)


def is_retryable(error: BaseException) -> bool:
    """Whether the same call may succeed later."""
    return isinstance(error, RETRYABLE) and not isinstance(error, FINAL)


def call_failed(error: Exception) -> CallFailedError:
    """Turn an error of the driver, the pool or the migration into the one that operations see."""
    text = " ".join(str(error).split()) or type(error).__name__
    if not isinstance(error, (psycopg.Error, PoolTimeout, TimeoutError)):
        return CallFailedError(text, retryable=False)
    failure = CallFailedError(f"{type(error).__name__}: {text}", retryable=is_retryable(error))
    failure.__cause__ = error
    return failure
