"""Enqueues jobs one by one with pgqueuer over asyncpg, and prints the jobs per second.

    PYTHON benchmarks/peer_pgqueuer.py URL SENDERS COUNT

`senders.py` runs this file with the Python of a separate environment in which pgqueuer and asyncpg are installed.
"""

import asyncio
import importlib
import sys
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit


async def main(url: str, senders: int, count: int) -> float:
    asyncpg: Any = importlib.import_module("asyncpg")
    drivers: Any = importlib.import_module("pgqueuer.adapters.drivers.asyncpg")
    queries_module: Any = importlib.import_module("pgqueuer.queries")
    parts = urlsplit(url)
    user = (parts.username or parse_qs(parts.query).get("user", ["postgres"])[0]) or "postgres"
    host = parts.hostname or parse_qs(parts.query)["host"][0]
    port = parts.port or int(parse_qs(parts.query).get("port", ["5432"])[0])
    place = {"host": host, "port": port, "user": user, "database": parts.path.lstrip("/")}
    async with asyncpg.create_pool(**place, min_size=senders, max_size=senders) as pool:
        queries = queries_module.Queries(drivers.AsyncpgPoolDriver(pool))
        if not await queries.has_table("pgqueuer"):
            await queries.install()

        async def enqueue(jobs: int) -> None:
            for number in range(jobs):
                await queries.enqueue("noop", b'{"number":%d}' % number)

        await asyncio.gather(*(enqueue(5) for _ in range(senders)))
        start = time.perf_counter()
        await asyncio.gather(*(enqueue(count // senders) for _ in range(senders)))
        return count // senders * senders / (time.perf_counter() - start)


if __name__ == "__main__":
    print(asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
