"""`FlowControl`: the methods of the broker that show and change limits of queues and of their keys at run time."""

from collections.abc import Mapping

from horsies.codec.problems import show_value
from horsies.codes import BrokerErrorCode
from horsies.config.rates import NoLimit, RateLimit
from horsies.db.operations import UNSET, Call, Operation, Unset
from horsies.db.queries import limits as limit_queries
from horsies.db.queries.limits import KeyStats, QueueLimits
from horsies.monitoring.asking import answered, refused, wrong_limit
from horsies.monitoring.audit import AuditLog
from horsies.producer.handle import BrokerOperationError, BrokerResult
from horsies.producer.keys import MOST_CHARACTERS
from horsies.result import Err, Ok

_MOST_KEYS = 1000
_MOST_PER_KEY = 2**31 - 1


class FlowControl(AuditLog):
    """Run-time control of queues and their keys. The settings are in the database, and stay when apps are deployed.

    Methods whose name ends in ``_async`` do the same for asyncio.
    """

    def limit_queue(
        self,
        name: str,
        *,
        per_key: int | NoLimit | Unset | None = UNSET,
        rate: RateLimit | NoLimit | Unset | None = UNSET,
        rate_per_key: RateLimit | NoLimit | Unset | None = UNSET,
        who: str | None = None,
    ) -> BrokerResult[bool]:
        """Set limits of a queue, in place of those that its app declares. Limits that are omitted stay as they are.

        `NO_LIMIT` lifts a limit: the queue has none, whatever its app declares. None restores what the app declares.

        Args:
            name: The queue.
            per_key: How many tasks of one key run at the same time; None: as the app declares. The queue must be keyed.
            rate: How many tasks of the queue start in a time; None: as the app declares.
            rate_per_key: How many tasks of one key start in a time; None: as the app declares. The queue must be keyed.
            who: The person who sets them, for the record. Default: that of `Horsies.get_broker`.

        Returns:
            Whether this call changed a limit; an error with QUEUE_NOT_KEYED if the queue is not keyed.
        """
        return self.runner.run(_limit(name, per_key, rate, rate_per_key, who or self.who))

    async def limit_queue_async(
        self,
        name: str,
        *,
        per_key: int | NoLimit | Unset | None = UNSET,
        rate: RateLimit | NoLimit | Unset | None = UNSET,
        rate_per_key: RateLimit | NoLimit | Unset | None = UNSET,
        who: str | None = None,
    ) -> BrokerResult[bool]:
        """Like `limit_queue`, for asyncio."""
        return await self.runner.run_async(_limit(name, per_key, rate, rate_per_key, who or self.who))

    def get_queue_limits(self, name: str) -> BrokerResult[QueueLimits]:
        """Return the limits of a queue that are in effect, and who has set them."""
        return self.runner.run(answered(limit_queries.queue_limits(name)))

    async def get_queue_limits_async(self, name: str) -> BrokerResult[QueueLimits]:
        """Like `get_queue_limits`, for asyncio."""
        return await self.runner.run_async(answered(limit_queries.queue_limits(name)))

    def get_keys(self, queue: str, *, after: str | None = None, limit: int = 100) -> BrokerResult[list[KeyStats]]:
        """Return the keys of a queue that have waiting or running tasks, a hold, or fewer tokens than they may have.

        Args:
            queue: The queue. Of a queue that is not keyed any more, the keys with holds are returned.
            after: Continue after this key; None: begin with the first one.
            limit: The largest number of keys, 1 to 1,000.
        """
        return self.runner.run(_keys(queue, after, limit))

    async def get_keys_async(
        self, queue: str, *, after: str | None = None, limit: int = 100
    ) -> BrokerResult[list[KeyStats]]:
        """Like `get_keys`, for asyncio."""
        return await self.runner.run_async(_keys(queue, after, limit))

    def pause_key(
        self, queue: str, key: str, *, reason: str | None = None, who: str | None = None
    ) -> BrokerResult[bool]:
        """Pause a key of a queue in the whole cluster: none of its tasks starts, and running ones finish normally.

        Args:
            queue: The queue, which must be keyed.
            key: The key; the empty string pauses the tasks that have none.
            reason: Why, for `why` and the list of keys.
            who: The person who pauses it, for the record. Default: that of `Horsies.get_broker`.

        Returns:
            Whether this call paused it; an error with QUEUE_NOT_KEYED if the queue is not keyed.
        """
        return self.runner.run(_control(queue, key, "pause", who or self.who, reason))

    async def pause_key_async(
        self, queue: str, key: str, *, reason: str | None = None, who: str | None = None
    ) -> BrokerResult[bool]:
        """Like `pause_key`, for asyncio."""
        return await self.runner.run_async(_control(queue, key, "pause", who or self.who, reason))

    def resume_key(self, queue: str, key: str) -> BrokerResult[bool]:
        """End a pause of a key, and a hold that a task has set because a service refused work.

        Returns:
            Whether anything held the key.
        """
        return self.runner.run(_control(queue, key, "resume", self.who, None))

    async def resume_key_async(self, queue: str, key: str) -> BrokerResult[bool]:
        """Like `resume_key`, for asyncio."""
        return await self.runner.run_async(_control(queue, key, "resume", self.who, None))


def _changed(call: Call[str], queue: str) -> Operation[BrokerResult[bool]]:
    answer = yield from answered(call)
    if isinstance(answer, Err):
        return answer
    if answer.value == "not keyed":
        message = f"queue {queue!r} is not keyed by its app, so its keys have no limits and no pauses"
        return Err(BrokerOperationError(BrokerErrorCode.QUEUE_NOT_KEYED, message, retryable=False))
    return Ok(answer.value == "changed")


def _limit(
    name: str,
    per_key: int | NoLimit | Unset | None,
    rate: RateLimit | NoLimit | Unset | None,
    rate_per_key: RateLimit | NoLimit | Unset | None,
    who: str | None,
) -> Operation[BrokerResult[bool]]:
    problem = _wrong_limit(per_key, {"rate": rate, "rate_per_key": rate_per_key})
    if problem is not None:
        return refused(problem)
    call = limit_queries.limit_queue(name, per_key=per_key, rate=rate, rate_per_key=rate_per_key, who=who)
    return (yield from _changed(call, name))


def _wrong_limit(per_key: object, rates: Mapping[str, object]) -> str | None:
    """Return what is wrong with the limits; None: nothing. A wrong type must not be taken for None."""
    is_number = isinstance(per_key, int) and not isinstance(per_key, bool) and 0 <= per_key <= _MOST_PER_KEY
    if not (per_key is None or isinstance(per_key, Unset | NoLimit) or is_number):
        return (
            f"per_key must be a whole number from 0 to {_MOST_PER_KEY:,}, NO_LIMIT or None, got {show_value(per_key)}"
        )
    for option, rate in rates.items():
        if not (rate is None or isinstance(rate, Unset | NoLimit | RateLimit)):
            return f"{option} must be a RateLimit, NO_LIMIT or None, got {show_value(rate)}"
    return None


def _control(queue: str, key: str, action: str, who: str | None, reason: str | None) -> Operation[BrokerResult[bool]]:
    if len(key) > MOST_CHARACTERS or "\0" in key:
        return refused(f"a key has at most {MOST_CHARACTERS} characters, and no NUL")
    return (yield from _changed(limit_queries.key_control(queue, key, action, who=who, reason=reason), queue))


def _keys(queue: str, after: str | None, limit: int) -> Operation[BrokerResult[list[KeyStats]]]:
    if (wrong := wrong_limit(limit, 1, _MOST_KEYS)) is not None:
        return wrong
    return (yield from answered(limit_queries.list_keys(queue, after, limit)))
