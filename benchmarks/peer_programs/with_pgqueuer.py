"""pgqueuer over asyncpg. Its jobs are coroutines, so both kinds of tasks are the same.

python with_pgqueuer.py URL [worker sync|async NUMBER]
"""

# pyright: basic, reportMissingImports=false, reportFunctionMemberAccess=false, reportAttributeAccessIssue=false

import asyncio
import json
import sys
from datetime import timedelta

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.core.completion import CompletionWatcher
from pgqueuer.db import AsyncpgDriver, AsyncpgPoolDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries
from protocol import Program, concurrently, serve

CONNECTIONS = 16
BATCH = 100


def payload(number: int) -> bytes:
    return json.dumps({"number": number}).encode()


class Pgqueuer(Program):
    def __init__(self, queries: Queries, watcher: CompletionWatcher) -> None:
        self.queries = queries
        self.watcher = watcher

    async def fill(self, kind: str, count: int) -> None:  # noqa: ARG002 - its jobs are coroutines
        ids = await self.queries.enqueue(["noop"] * count, [payload(number) for number in range(count)], [0] * count)
        assert len(ids) == count

    async def single(self, count: int, senders: int) -> None:
        await concurrently(count, senders, lambda number: self.queries.enqueue("noop", payload(number)))

    async def round_trip(self) -> None:
        [job] = await self.queries.enqueue("noop", payload(0))
        assert await self.watcher.wait_for(job) == "successful"


async def work(url: str) -> None:
    connection = await asyncpg.connect(url)
    queuer = PgQueuer(AsyncpgDriver(connection))

    @queuer.entrypoint("noop")
    async def noop(job: Job) -> None:
        json.loads(job.payload or b"")

    await queuer.run(batch_size=BATCH)


async def main(url: str) -> None:
    if "worker" in sys.argv:
        await work(url)
        return
    async with asyncpg.create_pool(url, min_size=CONNECTIONS, max_size=CONNECTIONS) as pool:
        queries = Queries(AsyncpgPoolDriver(pool))
        await queries.install()
        listener = AsyncpgDriver(await asyncpg.connect(url))
        debounce = timedelta(milliseconds=1)
        async with CompletionWatcher(listener, queries=queries, debounce=debounce) as watcher:
            await serve(Pgqueuer(queries, watcher))


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1])) if "worker" in sys.argv else asyncio.run(main(sys.argv[1]))
