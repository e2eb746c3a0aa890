"""dramatiq with Redis.

python with_dramatiq.py URL [worker sync|async NUMBER]
"""

# pyright: basic, reportMissingImports=false, reportFunctionMemberAccess=false, reportAttributeAccessIssue=false

import asyncio
import os
import sys
from pathlib import Path

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware.asyncio import AsyncIO
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend
from protocol import Program, in_threads, serve

THREADS = {"sync": 8, "async": 100}
LASTS_S = 600  # the default of result_ttl
URL = os.environ.setdefault("PEER_REDIS_URL", sys.argv[1] if __name__ == "__main__" else "")
results = RedisBackend(url=f"{URL}/1")
broker = RedisBroker(url=f"{URL}/0")
broker.add_middleware(Results(backend=results, store_results=True))
broker.add_middleware(AsyncIO())
dramatiq.set_broker(broker)


@dramatiq.actor
def noop(number: int) -> int:
    return number


@dramatiq.actor
async def noop_async(number: int) -> int:
    return number


class Dramatiq(Program):
    async def fill(self, kind: str, count: int) -> None:
        actor = noop if kind == "sync" else noop_async
        for number in range(count):
            actor.send(number)

    async def single(self, count: int, senders: int) -> None:
        in_threads(count, senders, noop.send)

    async def round_trip(self) -> None:
        noop.send(0).get_result(block=True)

    async def empty(self) -> None:
        broker.client.flushall()

    async def ended(self) -> int:
        return results.client.dbsize()

    async def outcomes(self) -> list[float]:
        pipe = results.client.pipeline(transaction=False)
        for key in results.client.scan_iter(count=1000):
            pipe.pexpiretime(key)
        return [expires / 1000 - LASTS_S for expires in pipe.execute()]


def work(kind: str) -> None:
    os.chdir(Path(__file__).parent)
    os.environ["dramatiq_queue_prefetch"] = "200"  # noqa: SIM112 - its name
    command = str(Path(sys.executable).parent / "dramatiq")
    os.execv(sys.executable, [sys.executable, command, "with_dramatiq", "--processes=2", f"--threads={THREADS[kind]}"])  # noqa: S606


if __name__ == "__main__":
    if "worker" in sys.argv:
        work(sys.argv[3])
    asyncio.run(serve(Dramatiq()))
