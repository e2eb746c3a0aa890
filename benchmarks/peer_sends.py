"""Sends of pgqueuer over asyncpg. `peers.py` runs this program in the environment of the peer.

    python peer_sends.py URL

For each line `bulk COUNT` or `single COUNT SENDERS` on standard input, it empties the queue, sends so many jobs, and
prints the seconds that this took.
"""

# pyright: reportMissingImports=false, reportMissingTypeStubs=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownParameterType=false

import asyncio
import json
import sys
import time

import asyncpg
from pgqueuer.db import AsyncpgPoolDriver
from pgqueuer.queries import Queries

CONNECTIONS = 16


def payload(number: int) -> bytes:
    return json.dumps({"number": number}).encode()


async def bulk(queries: Queries, count: int) -> None:
    payloads = [payload(number) for number in range(count)]
    ids = await queries.enqueue(["noop"] * count, payloads, [0] * count)
    assert len(ids) == count


async def single(queries: Queries, count: int, senders: int) -> None:
    numbers = iter(range(count))

    async def sender() -> None:
        for number in numbers:
            await queries.enqueue("noop", payload(number))

    await asyncio.gather(*(sender() for _ in range(senders)))


async def main(url: str) -> None:
    async with asyncpg.create_pool(url, min_size=CONNECTIONS, max_size=CONNECTIONS) as pool:
        queries = Queries(AsyncpgPoolDriver(pool))
        await queries.install()
        print("ready", flush=True)
        for line in sys.stdin:
            what, count, *senders = line.split()
            await queries.clear_queue()
            start = time.perf_counter()
            if what == "bulk":
                await bulk(queries, int(count))
            else:
                await single(queries, int(count), int(senders[0]))
            print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
