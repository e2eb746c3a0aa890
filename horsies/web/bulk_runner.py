"""`BulkRunner`: processes actions on many tasks in the background of the web server."""

import asyncio
import logging

from horsies.events import event
from horsies.monitoring import BulkKind, BulkState, advance_bulk_async, control_bulk_async
from horsies.monitoring.broker import Broker
from horsies.result import Err

_ANSWER_WITHIN_S = 0.5
_PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0)


class BulkRunner:
    """Processes started actions, one batch after another, until they are done or stopped.

    If the web server ends meanwhile, the action remains as it is, and any web server can resume it.
    """

    def __init__(self) -> None:
        self._working: dict[str, asyncio.Task[None]] = {}

    async def work(self, broker: Broker, action_id: str, kind: BulkKind) -> None:
        """Begin to process an action, unless this server does so already. Small actions are done when this returns.

        Args:
            broker: Makes the calls.
            action_id: The id of the action.
            kind: Its kind.
        """
        working = self._working.get(action_id)
        if working is None or working.get_loop() is not asyncio.get_running_loop():
            working = self._working[action_id] = asyncio.create_task(self._process(broker, action_id, kind))
        await asyncio.wait([working], timeout=_ANSWER_WITHIN_S)

    async def _process(self, broker: Broker, action_id: str, kind: BulkKind) -> None:
        try:
            await _advance_to_end(broker, action_id, kind)
        except Exception as error:  # noqa: BLE001 - its message may contain data, so it is not logged
            reason = f"an error of the program: {type(error).__qualname__}"
            event("web.bulk_action_stopped", level=logging.ERROR, action=action_id, reason=reason)
            await control_bulk_async(broker, action_id, kind, "stop", reason=reason)
        finally:
            if self._working.get(action_id) is asyncio.current_task():
                del self._working[action_id]


async def _advance_to_end(broker: Broker, action_id: str, kind: BulkKind) -> None:
    failures = 0
    while True:
        answer = await advance_bulk_async(broker, action_id)
        if not isinstance(answer, Err):
            if answer.ok_value is not BulkState.RUNNING:
                return
            failures = 0
            continue
        error = answer.err_value
        if not error.retryable or failures == len(_PAUSES_S):
            event("web.bulk_action_stopped", level=logging.ERROR, action=action_id, reason=error.message)
            # Without an answer of the database, the action stays RUNNING, and its page says that nobody works on it.
            await control_bulk_async(broker, action_id, kind, "stop", reason=error.message)
            return
        await asyncio.sleep(_PAUSES_S[failures])
        failures += 1
