"""Calls for people who look at the database: their failures, and arguments that are refused, are values."""

from horsies.codes import BrokerErrorCode
from horsies.db.operations import Call, CallFailedError, Operation
from horsies.plain import short_repr
from horsies.producer.handle import BrokerOperationError, BrokerResult, unanswered
from horsies.rendering import printable_line
from horsies.result import Err, Ok


def answered[R](
    call: Call[R], code: BrokerErrorCode = BrokerErrorCode.MONITORING_QUERY_FAILED
) -> Operation[BrokerResult[R]]:
    """Make a call, and return its failure as an `Err` with the given code."""
    try:
        return Ok((yield call))
    except CallFailedError as failure:
        return unanswered(code, failure)


def refused(message: str) -> Err[BrokerOperationError]:
    """Make the MONITORING_QUERY_FAILED error for an argument that is invalid."""
    return Err(BrokerOperationError(BrokerErrorCode.MONITORING_QUERY_FAILED, message, retryable=False))


def wrong_limit(limit: object, least: int, most: int) -> Err[BrokerOperationError] | None:
    """Return the error for a number of rows outside of a range; None if it is valid."""
    if isinstance(limit, int) and least <= limit <= most:
        return None
    return refused(f"limit must be a whole number from {least} to {most:,}, got {short_repr(limit)}")


def why_unanswered(error: BrokerOperationError) -> str:
    """Return a sentence for people that says why the database did not answer.

    A later question may be answered if the error is one of the connection. Other errors, such as a missing right or an
    outdated schema, last until somebody corrects them, so they are shown.
    """
    if error.retryable:
        return "The database does not answer."
    return f"The database cannot be used: {printable_line(error.message).rstrip('.')}."
