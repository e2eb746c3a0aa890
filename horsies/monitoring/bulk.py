"""Actions on many tasks that a filter selects: a preview, and then batches that process exactly the previewed tasks.

The preview is stored in the database, with the ids of its tasks. Any process can start, stop and resume the action.
Each batch is one transaction, which also stores the progress, so no task is processed twice, wherever a process is
killed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

from uuid_utils.compat import uuid7

from horsies.codes import TASK_TERMINAL_STATES, TaskStatus
from horsies.db.operations import Operation
from horsies.db.queries import bulk as bulk_queries
from horsies.db.queries import monitoring as monitoring_queries
from horsies.db.queries.bulk import BulkActionRow, BulkStepRow
from horsies.db.queries.worker import notify_wake
from horsies.monitoring.asking import answered, refused, wrong_limit
from horsies.monitoring.broker import Broker
from horsies.monitoring.filters import parse_filter
from horsies.monitoring.task_lists import LIVE, selected_statuses, with_statuses
from horsies.producer.handle import BrokerResult, parse_id
from horsies.result import Err, Ok

_MOST_LISTED = 1000
_INTERRUPTED_AFTER = timedelta(seconds=10)
_ENDED = [status for status in TaskStatus if status in TASK_TERMINAL_STATES]


class BulkKind(StrEnum):
    """The kind of an action on many tasks.

    Attributes:
        CANCEL: cancels tasks that have not ended.
        RERUN: sends ended tasks again.
    """

    CANCEL = "cancel"
    RERUN = "rerun"


class BulkState(StrEnum):
    """The state of an action on many tasks.

    Attributes:
        PREVIEW: its tasks are known, and nothing has changed.
        RUNNING: it was started. A process works on it, unless the process has ended.
        STOPPED: somebody has stopped it, or a process did because of an error. It can be resumed.
        DONE: all of its tasks were processed.
    """

    PREVIEW = "PREVIEW"
    RUNNING = "RUNNING"
    STOPPED = "STOPPED"
    DONE = "DONE"


type BulkChange = Literal["start", "stop", "resume"]


@dataclass(frozen=True, slots=True)
class BulkAction:
    """An action on many tasks.

    Attributes:
        action_id: Its id, a UUID as text. Ids are in the order of time.
        kind: Whether it cancels the tasks or sends them again.
        state: Its state.
        filter: The filter that has selected the tasks.
        statuses: The statuses of tasks to which it applies. A task that has another status when its batch is processed
            is skipped.
        total: The number of its tasks, at most 100,000.
        is_cut: Whether the search for tasks ended before all were searched, so that more tasks may match.
        left_out: The number of tasks that match and that a rerun leaves out, because they have been sent again already.
        processed: How many of its tasks were processed.
        changed: How many of these were cancelled or sent again.
        created_at: When the preview was made.
        created_by: The person or program that has made the preview.
        acted_by: The person or program that has started or resumed it last; None: nobody has.
        started_at: When it was started; None: it was not.
        ended_at: When its last batch was processed; None: it was not.
        idle: For how long no batch was processed; None: it was not started.
        failure: Why a process has stopped it; None: no process has.
        sample: The ids of its first 20 tasks; empty in a list of actions.
    """

    action_id: str
    kind: BulkKind
    state: BulkState
    filter: str
    statuses: tuple[TaskStatus, ...]
    total: int
    is_cut: bool
    left_out: int
    processed: int
    changed: int
    created_at: datetime
    created_by: str
    acted_by: str | None
    started_at: datetime | None
    ended_at: datetime | None
    idle: timedelta | None
    failure: str | None
    sample: tuple[str, ...]

    @property
    def skipped(self) -> int:
        """The number of processed tasks that were not changed: they had changed themselves since the preview."""
        return self.processed - self.changed

    @property
    def is_interrupted(self) -> bool:
        """Whether it runs, and no process has worked on it for 10 seconds."""
        return self.state is BulkState.RUNNING and self.idle is not None and self.idle >= _INTERRUPTED_AFTER

    @classmethod
    def of(cls, row: BulkActionRow) -> "BulkAction":
        """Make an action from a row of the database."""
        return cls(
            action_id=str(row.id),
            kind=BulkKind(row.action),
            state=BulkState(row.state),
            filter=row.filter,
            statuses=tuple(map(TaskStatus, row.statuses)),
            total=row.total,
            is_cut=row.is_cut,
            left_out=row.left_out,
            processed=row.processed,
            changed=row.changed,
            created_at=row.created_at,
            created_by=row.created_by,
            acted_by=row.acted_by,
            started_at=row.started_at,
            ended_at=row.ended_at,
            idle=None if row.idle_s is None else timedelta(seconds=max(row.idle_s, 0.0)),
            failure=row.failure,
            sample=tuple(map(str, row.sample)),
        )


def preview_bulk(broker: Broker, kind: BulkKind, wanted: str) -> BrokerResult[BulkAction]:
    """Store the tasks that a filter selects, for an action on them. Nothing else changes.

    A cancellation selects the tasks that have not ended, and a rerun the ended ones that have no rerun; without a term
    for the status, a rerun selects failed tasks only. Of the latest 1,000,000 live tasks and of the latest 1,000,000
    ended ones, at most 100,000 are selected, the most recently sent first. Previews that nobody starts are deleted
    after a day.

    Args:
        broker: The broker, which names the person who acts.
        kind: Whether the action cancels the tasks or sends them again.
        wanted: A filter such as ``status:failed queue:mail since:2h``; see `horsies.monitoring.filters.parse_filter`.
            It must have a term.

    Returns:
        The action; or an error with MONITORING_QUERY_FAILED, for example if the filter is not valid.
    """
    return broker.runner.run(_preview(kind, wanted, broker.who))


async def preview_bulk_async(broker: Broker, kind: BulkKind, wanted: str) -> BrokerResult[BulkAction]:
    """Like `preview_bulk`, for asyncio."""
    return await broker.runner.run_async(_preview(kind, wanted, broker.who))


def control_bulk(
    broker: Broker, action_id: str, kind: BulkKind, change: BulkChange, *, reason: str | None = None
) -> BrokerResult[BulkState | None]:
    """Start a previewed action, stop it, or resume it. Then `advance_bulk` processes its tasks.

    A change that does not apply to the state changes nothing, so two people may start the same action at the same time.

    Args:
        broker: The broker, which names the person who acts.
        action_id: The id of the action.
        kind: The kind that the action must have.
        change: ``start`` a previewed action; ``stop`` a running one; ``resume`` one that was stopped, or a running one
            whose process has ended.
        reason: Why a process stops the action; None: a person does.

    Returns:
        The state of the action; ``Ok(None)`` if there is no such action of this kind; or an error with
        MONITORING_QUERY_FAILED.
    """
    return broker.runner.run(_control(action_id, kind, change, broker.who, reason))


async def control_bulk_async(
    broker: Broker, action_id: str, kind: BulkKind, change: BulkChange, *, reason: str | None = None
) -> BrokerResult[BulkState | None]:
    """Like `control_bulk`, for asyncio."""
    return await broker.runner.run_async(_control(action_id, kind, change, broker.who, reason))


def advance_bulk(broker: Broker, action_id: str) -> BrokerResult[BulkState | None]:
    """Process the next batch of a running action, up to 1,000 tasks, in one transaction.

    Call it until the state is no longer RUNNING. Several processes may do so at the same time.

    Returns:
        The state afterwards; ``Ok(None)`` if there is no such action; or an error with MONITORING_QUERY_FAILED. If it
        is retryable, for example because another transaction locks a task, call again: no task is processed twice.
    """
    return broker.runner.run(_advance(action_id))


async def advance_bulk_async(broker: Broker, action_id: str) -> BrokerResult[BulkState | None]:
    """Like `advance_bulk`, for asyncio."""
    return await broker.runner.run_async(_advance(action_id))


def bulk_action(broker: Broker, action_id: str) -> BrokerResult[BulkAction | None]:
    """Return an action on many tasks; ``Ok(None)`` if there is none with this id, or if it was deleted."""
    return broker.runner.run(_find(action_id))


async def bulk_action_async(broker: Broker, action_id: str) -> BrokerResult[BulkAction | None]:
    """Like `bulk_action`, for asyncio."""
    return await broker.runner.run_async(_find(action_id))


def bulk_actions(broker: Broker, *, limit: int = 100) -> BrokerResult[tuple[BulkAction, ...]]:
    """Return actions on many tasks, the latest first: at most ``limit``, from 1 to 1,000."""
    return broker.runner.run(_list(limit))


async def bulk_actions_async(broker: Broker, *, limit: int = 100) -> BrokerResult[tuple[BulkAction, ...]]:
    """Like `bulk_actions`, for asyncio."""
    return await broker.runner.run_async(_list(limit))


def _preview(kind: BulkKind, wanted: str, who: str) -> Operation[BrokerResult[BulkAction]]:
    parsed = parse_filter(wanted)
    if isinstance(parsed, Err):
        return refused(f"invalid filter: {parsed.err_value}")
    query = parsed.ok_value
    if not query.terms:
        return refused(
            "a filter is required, such as queue:mail; to select all tasks, name their status: status:pending"
        )
    possible, unless_named = (LIVE, LIVE) if kind is BulkKind.CANCEL else (_ENDED, [TaskStatus.FAILED])
    statuses = selected_statuses(query, possible, unless_named)
    if not statuses:
        return refused(_WITHOUT_STATUS[kind])
    new_id = uuid7()
    document = with_statuses(query, statuses).document()
    stored = yield from answered(bulk_queries.bulk_preview(new_id, kind, wanted, document, statuses, who))
    if isinstance(stored, Err):
        return stored
    found = yield from _find(str(new_id))
    return found.and_then(lambda action: refused("the preview was deleted") if action is None else Ok(action))


_WITHOUT_STATUS = {
    BulkKind.CANCEL: "the filter selects no tasks that can be cancelled: name a status of tasks that have not ended, "
    "such as status:pending",
    BulkKind.RERUN: "the filter selects no tasks that can be sent again: name a status of ended tasks, such as "
    "status:failed",
}


def _control(
    action_id: str, kind: BulkKind, change: BulkChange, who: str, reason: str | None
) -> Operation[BrokerResult[BulkState | None]]:
    known = parse_id(action_id)
    if known is None:
        return Ok(None)
    state = yield from answered(bulk_queries.bulk_control(known, kind, change, who, reason))
    return state.map(lambda found: None if found is None else BulkState(found))


def _advance(action_id: str) -> Operation[BrokerResult[BulkState | None]]:
    known = parse_id(action_id)
    if known is None:
        return Ok(None)
    answer: BrokerResult[BulkStepRow | None] = yield from answered(bulk_queries.bulk_step(known, notify_wake()))
    if isinstance(answer, Err) or answer.ok_value is None:
        return answer.map(lambda _: None)
    step = answer.ok_value
    if step.cancelled:
        # Workers find cancelled tasks with their next heartbeat if this notification is lost.
        yield from answered(monitoring_queries.notify_cancel_many(step.cancelled))
    return Ok(BulkState(step.state))


def _find(action_id: str) -> Operation[BrokerResult[BulkAction | None]]:
    known = parse_id(action_id)
    if known is None:
        return Ok(None)
    rows = yield from answered(bulk_queries.list_bulk_actions(known, 1))
    return rows.map(lambda found: BulkAction.of(found[0]) if found else None)


def _list(limit: int) -> Operation[BrokerResult[tuple[BulkAction, ...]]]:
    if (wrong := wrong_limit(limit, 1, _MOST_LISTED)) is not None:
        return wrong
    rows = yield from answered(bulk_queries.list_bulk_actions(None, limit))
    return rows.map(_actions)


def _actions(rows: Sequence[BulkActionRow]) -> tuple[BulkAction, ...]:
    return tuple(map(BulkAction.of, rows))
