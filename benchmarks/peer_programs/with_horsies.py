"""horsies itself, as it is in this folder.

python with_horsies.py URL [worker sync|async NUMBER]
"""

import asyncio
import os
import sys
from pathlib import Path

BENCHMARKS = str(Path(__file__).parents[1])
sys.path.insert(0, BENCHMARKS)
if __name__ == "__main__":
    os.environ["HORSIES_DATABASE_URL"] = sys.argv[1]

import bench_tasks  # noqa: E402 - found only after the path is set
from protocol import Program, concurrently, serve  # noqa: E402


class Horsies(Program):
    async def fill(self, kind: str, count: int) -> None:
        task = bench_tasks.noop if kind == "sync" else bench_tasks.noop_async
        (await task.send_many_async([(number,) for number in range(count)])).unwrap()

    async def single(self, count: int, senders: int) -> None:
        async def send(number: int) -> None:
            (await bench_tasks.noop.send_async(number)).unwrap()

        await concurrently(count, senders, send)

    async def round_trip(self) -> None:
        handle = (await bench_tasks.noop.send_async(0)).unwrap()
        (await handle.get_async()).unwrap()


def work(kind: str) -> None:
    os.chdir(BENCHMARKS)
    options = ["--processes=2", *(["--concurrency=100"] if kind == "async" else [])]
    horsies = str(Path(sys.executable).parent / "horsies")
    os.execv(sys.executable, [sys.executable, horsies, "worker", "bench_tasks:app", *options])  # noqa: S606 - replaces this process


if __name__ == "__main__":
    if "worker" in sys.argv:
        work(sys.argv[3])
    asyncio.run(serve(Horsies()))
