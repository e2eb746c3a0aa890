"""procrastinate over psycopg.

python with_procrastinate.py URL [worker sync|async NUMBER]
"""

# pyright: basic, reportMissingImports=false, reportFunctionMemberAccess=false, reportAttributeAccessIssue=false

import asyncio
import sys

import procrastinate
from protocol import Program, concurrently, serve

CONCURRENCY = {"sync": 1, "async": 100}
SENDERS = 16
app = procrastinate.App(
    connector=procrastinate.PsycopgConnector(conninfo=sys.argv[1], min_size=4, max_size=SENDERS + 4)
)


@app.task(name="noop")
def noop(number: int) -> int:
    return number


@app.task(name="noop_async")
async def noop_async(number: int) -> int:
    return number


class Procrastinate(Program):
    async def fill(self, kind: str, count: int) -> None:
        task = noop if kind == "sync" else noop_async
        await task.batch_defer_async(*({"number": number} for number in range(count)))

    async def single(self, count: int, senders: int) -> None:
        await concurrently(count, senders, lambda number: noop.defer_async(number=number))


async def main() -> None:
    async with app.open_async():
        if "worker" in sys.argv:
            await app.run_worker_async(concurrency=CONCURRENCY[sys.argv[3]])
            return
        if not await app.check_connection_async():
            await app.schema_manager.apply_schema_async()
        await serve(Procrastinate())


if __name__ == "__main__":
    asyncio.run(main())
