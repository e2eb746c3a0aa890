"""Celery with prefork and Redis.

python with_celery.py URL [worker sync NUMBER]
"""

# pyright: basic, reportMissingImports=false, reportFunctionMemberAccess=false, reportAttributeAccessIssue=false

import asyncio
import os
import sys
from pathlib import Path

from celery import Celery
from protocol import Program, in_threads, serve

URL = os.environ.setdefault("PEER_REDIS_URL", sys.argv[1] if __name__ == "__main__" else "")
app = Celery("with_celery", broker=f"{URL}/0", backend=f"{URL}/1")
app.conf.worker_prefetch_multiplier = 128  # as Celery's guide to optimizing recommends for short tasks
app.conf.broker_pool_limit = 16
LASTS_S = 86_400  # the default of result_expires


@app.task(name="noop")
def noop(number: int) -> int:
    return number


class CeleryProgram(Program):
    async def fill(self, kind: str, count: int) -> None:  # noqa: ARG002 - Celery has one kind
        with app.producer_pool.acquire() as producer:
            for number in range(count):
                noop.apply_async((number,), producer=producer)

    async def single(self, count: int, senders: int) -> None:
        in_threads(count, senders, noop.delay)

    async def round_trip(self) -> None:
        noop.delay(0).get()

    async def empty(self) -> None:
        app.backend.client.flushall()

    async def ended(self) -> int:
        return app.backend.client.dbsize()

    async def outcomes(self) -> list[float]:
        pipe = app.backend.client.pipeline(transaction=False)
        for key in app.backend.client.scan_iter(count=1000):
            pipe.pexpiretime(key)
        return [expires / 1000 - LASTS_S for expires in pipe.execute()]


def work() -> None:
    os.chdir(Path(__file__).parent)
    celery = str(Path(sys.executable).parent / "celery")
    options = ["--concurrency=2", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    os.execv(sys.executable, [sys.executable, celery, "-A", "with_celery", "worker", "--loglevel=WARNING", *options])  # noqa: S606


if __name__ == "__main__":
    if "worker" in sys.argv:
        work()
    asyncio.run(serve(CeleryProgram()))
