"""Which database errors may go away by themselves."""

import re
from contextlib import suppress

import psycopg
from psycopg import errors

from horsies.db.operations import CallFailedError
from horsies.masking import mask_secrets

# The server, or the way to it, is away, busy or full; the same call may succeed later.
RETRYABLE = (
    psycopg.OperationalError,  # connection lost or refused, server shutting down, too many connections, disk full
    psycopg.InterfaceError,  # the connection was closed under us
    errors.SerializationFailure,
    errors.DeadlockDetected,
    errors.ReadOnlySqlTransaction,  # a standby, after a fail-over
    TimeoutError,  # no answer, though the connection seems to stand
    ConnectionError,  # as other drivers than ours have it
)
# Subclasses of OperationalError that will not.
PERMANENT = (
    errors.InvalidPassword,
    errors.InvalidAuthorizationSpecification,
    errors.InvalidCatalogName,
    errors.ProgramLimitExceeded,
    errors.StatementTooComplex,  # JSON nested too deep for the server's stack
)
# libpq hands on no SQLSTATE with a refused connection, only the server's words. Where those are not English, the
# refusal counts as one that may go away.
_REFUSAL = re.compile(
    r"password authentication failed|no password supplied|no pg_hba\.conf entry|is not permitted to log in"
    r'|(role|database) ".*" does not exist'
)


def sqlstate(error: BaseException) -> str:
    """The code that the server gave an error, whatever driver it came through; "" if there is none."""
    return getattr(error, "sqlstate", None) or getattr(error, "pgcode", None) or ""


def is_retryable(error: BaseException) -> bool:
    """Whether the same call may succeed later."""
    kind: type[BaseException] = type(error)
    with suppress(KeyError):
        kind = errors.lookup(sqlstate(error))
    if not issubclass(kind, RETRYABLE) or issubclass(kind, PERMANENT):
        return False
    return not (isinstance(error, psycopg.Error) and error.sqlstate is None and _REFUSAL.search(str(error)))


def call_failed(error: Exception) -> CallFailedError:
    """Turn an error of the driver or the migration into the one that operations see."""
    # What a server adds to its message (the row, the statement) may hold arguments, which no log is to show.
    message = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    text = " ".join(mask_secrets(message or str(error)).split()) or type(error).__name__
    if not isinstance(error, (psycopg.Error, TimeoutError)):
        return CallFailedError(text, retryable=False)
    failure = CallFailedError(f"{type(error).__name__}: {text}", retryable=is_retryable(error))
    failure.__cause__ = error
    return failure
