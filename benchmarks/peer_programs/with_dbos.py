"""DBOS. Its workflows of either kind run in one thread pool and one event loop of each process.

python with_dbos.py URL [worker sync|async NUMBER]
"""

# pyright: basic, reportMissingImports=false, reportFunctionMemberAccess=false, reportAttributeAccessIssue=false

import asyncio
import sys
import threading

from dbos import DBOS, DBOSClient
from protocol import Program, concurrently, in_threads, serve

QUEUE = "bench"
POLLS_S = 0.05
CONCURRENCY = {"sync": 16, "async": 100}


@DBOS.workflow(name="noop")
def noop(number: int) -> int:
    return number


@DBOS.workflow(name="noop_async")
async def noop_async(number: int) -> int:
    return number


class Dbos(Program):
    def __init__(self, client: DBOSClient) -> None:
        self.client = client

    async def fill(self, kind: str, count: int) -> None:
        options = {"workflow_name": "noop" if kind == "sync" else "noop_async", "queue_name": QUEUE}
        in_threads(count, 8, lambda number: self.client.enqueue(options, number))

    async def single(self, count: int, senders: int) -> None:
        options = {"workflow_name": "noop", "queue_name": QUEUE}
        await concurrently(count, senders, lambda number: self.client.enqueue_async(options, number))

    async def round_trip(self) -> None:
        handle = await self.client.enqueue_async({"workflow_name": "noop", "queue_name": QUEUE}, 0)
        await handle.get_result(polling_interval_sec=POLLS_S)


def launch(url: str, executor: str, concurrency: int) -> None:
    DBOS(
        config={
            "name": "bench",
            "system_database_url": url,
            "executor_id": executor,
            "application_version": "1",
            "log_level": "WARNING",
            "sys_db_pool_size": 20,
        }
    )
    DBOS.launch()
    DBOS.register_queue(
        QUEUE, worker_concurrency=concurrency, polling_interval_sec=POLLS_S, on_conflict="always_update"
    )


if __name__ == "__main__":
    if "worker" in sys.argv:
        launch(sys.argv[1], f"worker-{sys.argv[4]}", CONCURRENCY[sys.argv[3]])
        threading.Event().wait()
    launch(sys.argv[1], "install", 1)
    DBOS.destroy()
    asyncio.run(serve(Dbos(DBOSClient(system_database_url=sys.argv[1]))))
