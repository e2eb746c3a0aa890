"""Random workflows that run in the database and in the model, step by step, and are compared."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from horsies.config.retry import RetryPolicy
from horsies.db.queries import tasks as task_queries
from horsies.db.queries import workflows as workflow_queries
from horsies.db.queries.worker import Fence, Outcome
from horsies.db.queries.workflows import RunRequest
from tests.support import workflow_oracle as model
from tests.support.factories import DrivenWorker, done, failed
from tests.support.runs import Node, control, node, nodes_of, read, request, state
from tests.support.sessions import Session, call

BUILD = "horsies.build:child"
MAP = "horsies.map"
AGAIN = json.loads(RetryPolicy.fixed([0.001] * 20, jitter=False, auto_retry_for=["AGAIN"]).to_json())
CODES = ("BOOM", "BANG")


def random_document(random: Random, most: int, depth: int = 0) -> bytes:
    """Return a random document that a spec could be compiled to: up to ``most`` nodes of all kinds, in any order."""
    count = random.randint(1, most)
    places = random.sample(range(count), count)
    nodes: list[Node] = [{}] * count
    for number, place in enumerate(places):
        waits_for = random.sample(places[:number], random.randint(0, min(number, 4)))
        nodes[place] = _random_node(random, waits_for, depth)
    cases = [random.sample(range(count), random.randint(1, min(count, 3))) for _ in range(random.randint(1, 2))]
    return request(
        nodes,
        definition_key=f"random.{depth}",
        on_error=random.choice(["fail", "fail", "pause"]),
        output=random.choice([None, random.randrange(count)]),
        cases=random.choice([None, None, cases]),
        optional=random.sample(range(count), random.randint(0, min(count, 2))),
    ).document


def _random_node(random: Random, waits_for: list[int], depth: int) -> Node:
    kind = random.choices(["task", "workflow", "map"], [8, 2 if depth < 2 else 0, 2 if waits_for else 0])[0]
    join = (
        "all" if kind == "map" else random.choices(["all", "any", "quorum"], [3, 1, 1] if waits_for else [1, 0, 0])[0]
    )
    sources = random.sample(waits_for, random.randint(0, len(waits_for)))
    return node(
        *waits_for,
        kind=kind,
        task_name=BUILD if kind == "workflow" else "add",
        join=join,
        min_success=random.randint(1, len(waits_for)) if join == "quorum" else None,
        allow_failed_deps=random.random() < 0.3,
        args_from={f"p{source}": source for source in sources},
        ctx_from=random.choice([None, sources]),
        over=random.choice(waits_for) if kind == "map" else None,
        item_parameter="each" if kind == "map" else None,
        max_parallel=random.choice([None, 1, 2]),
        retry_policy=AGAIN if kind == "task" else None,
    )


def plain(value: Any) -> Any:
    """Return results without texts for people and without values that the model cannot know."""
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        unknown = {"message", "exception", "sub_workflow_id", "error_summary"}
        return {name: plain(each) for name, each in value.items() if name not in unknown}
    return value


@dataclass(frozen=True)
class RunningTask:
    """A running task."""

    fence: Fence
    attempt: int
    run: model.Run
    index: int
    item: int | None
    task_name: str


class SideBySide:
    """A tree of runs in the database and in the model. Each step asserts that both are in the same state."""

    def __init__(self, db: Session, random: Random, most: int) -> None:
        """Start a run of a random workflow."""
        db.execute("truncate horsies.tasks, horsies.workflows, horsies.workflow_nodes, horsies.workflow_edges")
        db.execute("truncate horsies.workflow_items, horsies.workers")
        self.db, self.random, self.most = db, random, most
        self.worker = DrivenWorker(db, names=["add", BUILD, MAP])
        document = random_document(random, most)
        top = RunRequest(uuid7(), document, document[:32])
        assert call(db, workflow_queries.workflow_start(top)) == "started"
        self.runs: dict[UUID, model.Run] = {top.run_id: model.Run(json.loads(document))}
        self.running_tasks: list[RunningTask] = []
        self.compare()

    def step(self) -> None:
        """Perform one random event."""
        steps = [self.claim, self.finish, self.control, self.cancel_task]
        self.random.choices(steps, [8, 12, 3, 1])[0]()
        self.compare()

    def run_to_the_end(self) -> None:
        """Continue until the run has ended, and compare the results."""
        for _ in range(500):
            for run_id in list(self.runs):
                if model.resume(self.runs[run_id]):
                    control(self.db, run_id, "resume")
            self.claim(100)
            self.compare()
            if not self.running_tasks and all(run.status in model.RUN_ENDED for run in self.runs.values()):
                return
            self.finish(len(self.running_tasks))
            self.compare()
        raise AssertionError([(run.status, run.statuses()) for run in self.runs.values()])

    def compare(self) -> None:
        """Assert that database and model are in the same state."""
        for run_id, run in self.runs.items():
            found, rows = state(self.db, run_id), nodes_of(self.db, run_id)
            assert ([row.status for row in rows], found.status) == (run.statuses(), run.status)
            for row, expected in zip(rows, run.nodes, strict=True):
                assert (None if row.result is None else plain(read(row.result))) == plain(expected.result)
            assert (None if found.error is None else plain(read(found.error))) == plain(run.error)

    def claim(self, most: int | None = None) -> None:
        """Claim some tasks, and compare the inputs from their runs with those of the model."""
        for task in self.worker.ask(most or self.random.randint(1, 6)).tasks:
            row = self.db.execute(
                "select workflow_id, node_index, item from horsies.tasks where id = %s", (task.id,)
            ).fetchone()
            assert row is not None
            run_id, index, item = row
            run = self.runs[run_id]
            if item is None:
                assert index in run.waiting()
                model.begin(run, index)
            else:
                assert item in run.open_items(index)
            if task.inputs is not None:
                self._compare_inputs(run.inputs(index), read(task.inputs))
            fence = Fence(task.id, self.worker.exchange_no)
            self.running_tasks.append(RunningTask(fence, task.attempt, run, index, item, task.task_name))

    def _compare_inputs(self, expected: dict[str, Any], given: dict[str, Any]) -> None:
        passed = {name: _as_result(each["status"], each["result"]) for name, each in given["args_from"].items()}
        assert plain(passed) == plain(expected["args_from"])
        context = given["ctx"] and {each["index"]: _as_result(each["status"], each["result"]) for each in given["ctx"]}
        assert plain(context or None) == plain(expected["ctx"] or None)

    def finish(self, most: int | None = None) -> None:
        """Finish some running tasks in one batch. Tasks that build, expand or collect first do that one by one."""
        batch = self.random.sample(self.running_tasks, min(most or self.random.randint(1, 4), len(self.running_tasks)))
        self.running_tasks = [each for each in self.running_tasks if each not in batch]
        outcomes = [outcome for each in batch for outcome in self._outcome(each)]
        if not outcomes:
            return
        self.worker.finish(*(outcome for outcome, _, _ in outcomes))
        model.finish(
            (each.run, each.index, end)
            for _, each, end in outcomes
            if end is not None and each.item is None and self._decides(each)
        )
        for outcome, each, end in outcomes:
            assert outcome.fence == each.fence
            if end is not None and each.item is not None and each.run.nodes[each.index].status == "ENQUEUED":
                model.finish_items(each.run, each.index, {each.item: end})

    def _decides(self, each: RunningTask) -> bool:
        return each.task_name not in {BUILD, MAP} or each.run.nodes[each.index].is_running

    def _outcome(self, each: RunningTask) -> Iterator[tuple[Outcome, RunningTask, model.Outcome | None]]:
        """Yield how each task ends. An outcome of None for the model means that the task is retried."""
        kind, task = each.run.nodes[each.index], each.fence.task_id
        if each.task_name == MAP and kind.is_running:
            call(self.db, workflow_queries.workflow_map(task, each.attempt))
            (model.collect if kind.items is not None else model.expand)(each.run, each.index)
            yield done(each.fence, b"null"), each, None
        elif each.task_name == BUILD and kind.is_running and self.random.random() < 0.8:
            depth = int(each.run.document["definition_key"].rpartition(".")[2]) + 1
            document = random_document(self.random, max(1, self.most // 3), depth)
            wanted = RunRequest(uuid7(), document, document[:32])
            assert call(self.db, workflow_queries.workflow_attach(task, each.attempt, wanted)) == "attached"
            self.runs[wanted.run_id] = model.attach(each.run, each.index, json.loads(document))
            yield done(each.fence, b"null"), each, None
        elif each.item is None and each.task_name == "add" and self.random.random() < 0.1:
            if kind.is_running:
                model.retry(each.run, each.index)
            yield failed(each.fence, "AGAIN"), each, None
        elif self.random.random() < 0.25 or each.task_name == BUILD:
            code = self.random.choice(CODES)
            yield failed(each.fence, code), each, model.failed(code)
        else:
            value = self.random.choice([7, [], [1], [1, 2, 3]])
            yield done(each.fence, json.dumps(value).encode()), each, model.ok(value)

    def control(self) -> None:
        """Pause, resume or cancel one of the runs."""
        run_id = self.random.choice(list(self.runs))
        name = self.random.choices(["pause", "resume", "cancel"], [4, 5, 1])[0]
        changed = {"pause": model.pause, "resume": model.resume, "cancel": model.cancel}[name](self.runs[run_id])
        assert (control(self.db, run_id, name) == "changed") == changed

    def cancel_task(self) -> None:
        """Cancel a running task."""
        tasks = [each for each in self.running_tasks if each.item is None and each.run.nodes[each.index].is_running]
        if tasks:
            each = self.random.choice(tasks)
            assert call(self.db, task_queries.cancel(each.fence.task_id)) == "cancelled"
            model.finish([(each.run, each.index, model.failed("TASK_CANCELLED"))])


def _as_result(status: str, result: Any) -> Any:
    return None if status not in model.ENDED else {"ok" if status == "COMPLETED" else "err": result}
