"""Classification of database errors: which ones a retry may fix."""

import re
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import errors

from horsies.db.operations import Call, CallFailedError
from horsies.masking import mask_secrets

# The server or the network is unavailable, busy or full. The same call may succeed later.
RETRYABLE = (
    psycopg.OperationalError,  # connection lost or refused, server shutting down, too many connections, disk full
    psycopg.InterfaceError,  # the connection was closed meanwhile
    errors.SerializationFailure,
    errors.DeadlockDetected,
    errors.ReadOnlySqlTransaction,  # a standby server, after a failover
    OSError,  # raised by drivers other than psycopg, or no file descriptor is left
)
# The errors of a call that are reported as values: those of the driver, text with a lone surrogate, and an operating
# system that has no file descriptor or no memory left.
CALL_ERRORS = (psycopg.Error, UnicodeEncodeError, OSError)
# Subclasses of OperationalError that a retry does not fix.
PERMANENT = (
    errors.InvalidPassword,
    errors.InvalidAuthorizationSpecification,
    errors.InvalidCatalogName,
    errors.ProgramLimitExceeded,
    errors.StatementTooComplex,  # JSON that is nested too deep for the stack of the server
)
# A value that the server does not accept: its form, a constraint, or a limit.
_REFUSED_VALUE = ("22", "23", "54")
# The functions or their columns are not the ones that this release calls.
_OTHER_SCHEMA = ("42883", "42725", "42703", "42P01", "42804")
# A prepared statement of another client exists, or that of this connection does not: a pooler gives the connection
# another session of the server after each transaction.
_OTHER_SESSION = ("42P05", "26000")
# libpq reports no SQLSTATE for a refused connection, only the message of the server. If the message is not in English,
# the refusal is treated as retryable.
_REFUSAL = re.compile(
    r"password authentication failed|no password supplied|no pg_hba\.conf entry|is not permitted to log in"
    r'|(role|database) ".*" does not exist'
)


def sqlstate(error: BaseException) -> str:
    """The code that the server gave an error, whatever driver it came through; "" if there is none."""
    return getattr(error, "sqlstate", None) or getattr(error, "pgcode", None) or ""


def refuses_value(failure: CallFailedError) -> bool:
    """Whether a statement failed because of the values that it was called with, on the server or before."""
    return failure.failed_call is not None and (failure.sqlstate == "" or failure.sqlstate[:2] in _REFUSED_VALUE)


def finds_other_schema(failure: CallFailedError) -> bool:
    """Whether a statement failed because the schema has other functions than this release calls."""
    return failure.failed_call is not None and failure.sqlstate in _OTHER_SCHEMA


def is_retryable(error: BaseException) -> bool:
    """Whether the same call may succeed later."""
    kind: type[BaseException] = type(error)
    with suppress(KeyError):
        kind = errors.lookup(sqlstate(error))
    if not issubclass(kind, RETRYABLE) or issubclass(kind, PERMANENT):
        return False
    return not (isinstance(error, psycopg.Error) and error.sqlstate is None and _REFUSAL.search(str(error)))


def call_failed(error: Exception, failed_call: Call[Any] | None = None) -> CallFailedError:
    """Turn an error of the driver or of a migration into the error of operations. Secrets are masked.

    Args:
        error: the error.
        failed_call: the call whose statement has failed; None: it is not known.
    """
    # The details of a message (the row, the statement) may contain arguments, which must not reach a log.
    message = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    text = " ".join(mask_secrets(message or str(error)).split()) or type(error).__name__
    if isinstance(error, errors.InsufficientPrivilege):
        text += "; `horsies db grant` gives a role the rights that it needs"
    if sqlstate(error) in _OTHER_SESSION:
        text += "; behind PgBouncer in transaction mode, set PostgresConfig(pgbouncer_transaction_mode=True)"
    if not isinstance(error, (psycopg.Error, OSError)):
        return CallFailedError(text, retryable=False, failed_call=failed_call)
    message = f"{type(error).__name__}: {text}"
    failure = CallFailedError(message, retryable=is_retryable(error), sqlstate=sqlstate(error), failed_call=failed_call)
    failure.__cause__ = error
    return failure
