"""The actions of ``horsies top --enable-actions``: what each will do, in words, and how it is done.

Each is recorded in the name of the user, as those of the other commands are.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

from horsies.codes import WORKFLOW_TERMINAL_STATES, TaskStatus, WorkflowStatus
from horsies.monitoring import QueueStatus, Run, RunAction, control_run_async
from horsies.monitoring.answers import RerunCandidate
from horsies.monitoring.broker import Broker
from horsies.monitoring.texts import counted, line
from horsies.producer.handle import BrokerResult
from horsies.producer.info import TaskInfo
from horsies.result import Err, Ok

_SENT_AGAIN = {
    "changed": "It was sent again meanwhile, so nothing was done.",
    "live": "It has not ended, so nothing was done.",
    "unknown": "Its record was deleted, so nothing was done.",
}


class Kind(StrEnum):
    """The kind of an action."""

    CANCEL = "cancel"
    RERUN = "rerun"
    PAUSE = "pause"


@dataclass(frozen=True, slots=True)
class Action:
    """An action that waits for its confirmation.

    Attributes:
        question: What will be done, on which task, queue or run, and with which consequences.
        label: The verb for the button.
        perform: Does it, and returns a sentence about the effect.
    """

    question: str
    label: str
    perform: Callable[[Broker], Awaitable[BrokerResult[str]]]


def cancel_task(info: TaskInfo) -> Action | str:
    """Return the action that cancels a task, or a sentence that says why it is not possible."""
    if info.status.is_terminal:
        return "The task has ended, so it cannot be cancelled."
    consequence = "It has not started, and will not start."
    if info.status is TaskStatus.RUNNING:
        worker = "its worker" if info.worker_process_name is None else line(info.worker_process_name, 80)
        consequence = f"It is running: {worker} stops its code."

    async def perform(broker: Broker) -> BrokerResult[str]:
        now = await broker.get_task_info_async(info.task_id)
        if isinstance(now, Err):
            return now
        if now.ok_value is None or now.ok_value.status is not info.status:
            state = "deleted" if now.ok_value is None else now.ok_value.status.lower()
            return Ok(f"The task is {state} now, so nothing was done.")
        done = await broker.cancel_tasks([info.task_id])
        return done.map(lambda ids: "The task is cancelled." if ids else "The task had ended before.")

    return Action(f"Cancel task {line(info.task_name, 80)} {info.task_id}? {consequence}", "Cancel the task", perform)


def rerun_task(info: TaskInfo) -> Action | str:
    """Return the action that sends an ended task again, or a sentence that says why it is not possible."""
    if not info.status.is_terminal:
        return "The task has not ended, so it cannot be sent again."
    again = f" It was sent again {counted(len(info.reruns), 'time')} already." if info.reruns else ""

    async def perform(broker: Broker) -> BrokerResult[str]:
        done = await broker.rerun_tasks([RerunCandidate(info.task_id, len(info.reruns))])
        if isinstance(done, Err):
            return done
        [outcome] = done.ok_value
        if outcome.new_task_id is None:
            return Ok(_SENT_AGAIN.get(outcome.verdict, outcome.verdict))
        return Ok(f"The new task is {outcome.new_task_id}.")

    question = (
        f"Send task {line(info.task_name, 80)} {info.task_id} again? A new task with the same arguments is sent "
        f"to queue {line(info.queue_name, 80)}.{again}"
    )
    return Action(question, "Send it again", perform)


def pause_queue(queue: QueueStatus) -> Action:
    """Return the action that pauses a queue or, if it is paused, resumes it."""
    name, waiting = queue.queue_name, counted(queue.waiting.number, "waiting task")
    shown = line(name, 80)
    if queue.paused:

        async def resume(broker: Broker) -> BrokerResult[str]:
            done = await broker.resume_queue(name)
            return done.map(lambda changed: f"Queue {shown} is {'resumed' if changed else 'not paused any more'}.")

        question = f"Resume queue {shown}? Workers start its {waiting} as its limits allow."
        return Action(question, "Resume the queue", resume)

    async def pause(broker: Broker) -> BrokerResult[str]:
        done = await broker.pause_queue(name)
        return done.map(lambda changed: f"Queue {shown} {'is paused' if changed else 'was paused before'}.")

    question = (
        f"Pause queue {shown} in the whole cluster? None of its tasks starts until it is resumed: {waiting} now, and "
        f"those that are sent later. {counted(queue.running, 'running task')} will finish."
    )
    return Action(question, "Pause the queue", pause)


def pause_run(run: Run) -> Action | str:
    """Return the action that pauses or resumes a run, or a sentence that says why neither is possible."""
    if run.status is WorkflowStatus.PAUSED:
        question = (
            f"Resume run {run.run_id} of workflow {line(run.name, 80)} and its child runs? Its nodes start again."
        )
        return Action(question, "Resume the run", _control(run, RunAction.RESUME, "resumed", "not paused any more"))
    if run.status in WORKFLOW_TERMINAL_STATES:
        return "The run has ended, so it can be neither paused nor resumed."
    question = (
        f"Pause run {run.run_id} of workflow {line(run.name, 80)} and its child runs? No further node starts until it "
        "is resumed, and running tasks finish."
    )
    return Action(question, "Pause the run", _control(run, RunAction.PAUSE, "paused", "not running any more"))


def cancel_run(run: Run) -> Action | str:
    """Return the action that cancels a run, or a sentence that says why it is not possible."""
    if run.status in WORKFLOW_TERMINAL_STATES:
        return "The run has ended, so it cannot be cancelled."
    left = run.nodes - run.completed - run.failed - run.skipped
    question = (
        f"Cancel run {run.run_id} of workflow {line(run.name, 80)} and its child runs? {counted(left, 'node')} "
        f"{'has' if left == 1 else 'have'} not ended: waiting ones are skipped, and running tasks are stopped."
    )
    return Action(question, "Cancel the run", _control(run, RunAction.CANCEL, "cancelled", "ended already"))


def _control(
    run: Run, action: RunAction, done: str, otherwise: str
) -> Callable[[Broker], Awaitable[BrokerResult[str]]]:
    async def perform(broker: Broker) -> BrokerResult[str]:
        changed = await control_run_async(broker, run.run_id, action)
        return changed.map(lambda is_changed: f"The run is {done if is_changed else otherwise}.")

    return perform
