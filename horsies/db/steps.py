"""Sequences of round trips that blocking and asynchronous callers carry out in the same way."""

from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Any

from horsies.db.operations import Call, CallFailedError

type Groups = Sequence[Sequence[Call[Any]]]
type Replies = list[list[Any]]
type Steps[R] = Generator[Groups, Replies, R]
"""Yields calls in groups, one transaction each, and receives their replies by group."""


def carry_out[R](round_trip: Callable[..., Replies], steps: Steps[R]) -> R:
    """Make the calls of a sequence, pass their replies or their failure to it, and return its result.

    Args:
        round_trip: makes the calls of groups, which are its positional arguments.
        steps: the sequence.
    """
    try:
        groups = next(steps)
        while True:
            try:
                replies = round_trip(*groups)
            except CallFailedError as failure:
                groups = steps.throw(failure)
            else:
                groups = steps.send(replies)
    except StopIteration as finished:
        return finished.value


async def carry_out_async[R](round_trip: Callable[..., Awaitable[Replies]], steps: Steps[R]) -> R:
    """Like `carry_out`, for asyncio."""
    try:
        groups = next(steps)
        while True:
            try:
                replies = await round_trip(*groups)
            except CallFailedError as failure:
                groups = steps.throw(failure)
            else:
                groups = steps.send(replies)
    except StopIteration as finished:
        return finished.value
