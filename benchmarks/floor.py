"""The floor: the throughput of plain psycopg with the same statements, batches, durability and rows, without user code.

Two connections in two threads of one process claim and finish in lockstep. One connection sends.
"""

import statistics
import threading
import time
from uuid import uuid4

import psycopg
from uuid_utils.compat import uuid7

from horsies.db.adapt import ADAPT_CONTEXT
from horsies.db.operations import Call
from horsies.db.queries import tasks as task_queries
from horsies.db.queries import worker as worker_queries
from horsies.db.queries.tasks import EnqueueRequest
from horsies.db.queries.worker import Fence, Outcome, WorkerFacts

FACTS = WorkerFacts(
    "floor", 1, "floor:1", "boot", "namespace", "start", "0", 1, 1, {"default": None}, None, ("noop",), 300.0
)


def connect(url: str) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(url, autocommit=True, prepare_threshold=2, context=ADAPT_CONTEXT)


def ask[R](connection: psycopg.Connection[tuple[object, ...]], call: Call[R]) -> R:
    return call.decode(connection.execute(call.sql.encode(), call.params).fetchall())


def request(number: int, task: str = "noop", key: str | None = None) -> EnqueueRequest:
    """Return the row that a send of the task creates."""
    args = b'{"number":%d}' % number
    return EnqueueRequest(uuid7(), task, "default", 100, args, bytes(32), 0.0, None, None, None, key=key)


def fill(url: str, count: int, task: str) -> None:
    """Put ``count`` tasks into the queue as quickly as possible."""
    with connect(url) as connection, connection.pipeline():
        for number in range(count):
            call = task_queries.enqueue(request(number, task), replay=False)
            connection.execute(call.sql.encode(), call.params)


def drain(url: str, count: int, batch: int, connections: int = 2) -> float:
    """Claim and finish all tasks; return the tasks per second."""
    left = count
    lock = threading.Lock()

    def serve() -> None:
        nonlocal left
        worker_id, number = uuid4(), 0
        with connect(url) as connection:
            ask(connection, worker_queries.worker_start(worker_id, FACTS))
            outcomes: list[Outcome] = []
            while left > 0:
                number += 1
                claim = worker_queries.claim(worker_id, number, batch, ["default"], ["noop"], free=batch)
                if outcomes:
                    finish = worker_queries.finish(worker_id, "floor", outcomes)
                    with connection.pipeline():
                        finished = connection.execute(finish.sql.encode(), finish.params)
                        claimed = connection.execute(claim.sql.encode(), claim.params)
                    accepted = len(finish.decode(finished.fetchall()))
                    tasks = claim.decode(claimed.fetchall()).tasks
                    with lock:
                        left -= accepted
                else:
                    tasks = ask(connection, claim).tasks
                outcomes = [outcome(Fence(task.id, number)) for task in tasks]
            ask(connection, worker_queries.worker_stop(worker_id))

    threads = [threading.Thread(target=serve) for _ in range(connections)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return count / (time.perf_counter() - start)


def finish_alone(url: str, count: int, connections: int = 2) -> float:
    """Claim all tasks, and then commit each finish separately; return the finished tasks per second."""
    begin = threading.Barrier(connections + 1)

    def serve() -> None:
        worker_id, share = uuid4(), count // connections
        with connect(url) as connection:
            ask(connection, worker_queries.worker_start(worker_id, FACTS))
            claim = worker_queries.claim(worker_id, 1, share, ["default"], ["noop"], free=share)
            fences = [Fence(task.id, 1) for task in ask(connection, claim).tasks]
            assert len(fences) == share
            begin.wait()
            for fence in fences:
                ask(connection, worker_queries.finish(worker_id, "floor", [outcome(fence)]))
            ask(connection, worker_queries.worker_stop(worker_id))

    threads = [threading.Thread(target=serve) for _ in range(connections)]
    for thread in threads:
        thread.start()
    begin.wait()
    start = time.perf_counter()
    for thread in threads:
        thread.join()
    return count / (time.perf_counter() - start)


def claim(url: str, rounds: int) -> float:
    """Repeatedly claim and finish a new task; return the median time of a claim in milliseconds."""
    worker_id, times = uuid4(), list[float]()
    with connect(url) as connection:
        ask(connection, worker_queries.worker_start(worker_id, FACTS))
        for number in range(1, rounds + 1):
            ask(connection, task_queries.enqueue(request(number), replay=False))
            call = worker_queries.claim(worker_id, number, 10, ["default"], ["noop"], free=10)
            start = time.perf_counter()
            [task] = ask(connection, call).tasks
            times.append((time.perf_counter() - start) * 1000)
            ask(connection, worker_queries.finish(worker_id, "floor", [outcome(Fence(task.id, number))]))
        ask(connection, worker_queries.worker_stop(worker_id))
    return statistics.median(times)


def outcome(fence: Fence) -> Outcome:
    """Return the outcome of a successful task."""
    return Outcome(fence, ok=True, result=b"1", error_code=None, retry_after=None, worker_pid=1, process_name="floor")


def send(url: str, count: int) -> float:
    """Enqueue tasks one by one, each with a notice, over one connection; return the tasks per second."""
    with connect(url) as connection:
        start = time.perf_counter()
        for number in range(count):
            call = task_queries.enqueue(request(number), replay=False)
            with connection.pipeline() as pipeline:
                connection.execute(call.sql.encode(), call.params)
                pipeline.sync()
                connection.execute(b"select horsies.notify_wake()")
        return count / (time.perf_counter() - start)
