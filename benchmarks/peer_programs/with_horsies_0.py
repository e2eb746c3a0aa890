"""The earlier horsies 0.5 from PyPI.

python with_horsies_0.py URL [worker sync NUMBER]
"""

# pyright: basic, reportMissingImports=false, reportFunctionMemberAccess=false, reportAttributeAccessIssue=false

import asyncio
import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

from protocol import Program, concurrently, serve

from horsies import AppConfig, Horsies, PostgresConfig, TaskError, TaskResult

URL = os.environ.setdefault("PEER_DATABASE_URL", sys.argv[1] if __name__ == "__main__" else "")
app = Horsies(
    AppConfig(
        broker=PostgresConfig(database_url=urlsplit(URL)._replace(scheme="postgresql+psycopg").geturl(), pool_size=16),
        prefetch_buffer=16,
        claim_lease_ms=60_000,
    )
)


@app.task("noop")
def noop(*, number: int) -> TaskResult[int, TaskError]:
    return TaskResult(ok=number)


app.discover_tasks(["with_horsies_0"])


def must(result: object) -> object:
    """Return the value of a result that must not be an error."""
    assert result.is_ok(), result
    return result.ok_value


class HorsiesZero(Program):
    async def fill(self, kind: str, count: int) -> None:  # noqa: ARG002 - it has one kind
        await self.single(count, 16)

    async def single(self, count: int, senders: int) -> None:
        async def send(number: int) -> None:
            must(await noop.send_async(number=number))

        await concurrently(count, senders, send)

    async def round_trip(self) -> None:
        handle = must(await noop.send_async(number=0))
        must(await handle.get_async())


async def main() -> None:
    must(await noop.send_async(number=0))  # creates the tables
    await serve(HorsiesZero())


def work() -> None:
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    horsies = str(Path(sys.executable).parent / "horsies")
    arguments = [horsies, "worker", "with_horsies_0:app", "--processes=2", "--max-tasks-per-child=0"]
    os.execv(sys.executable, [sys.executable, *arguments, "--loglevel=WARNING"])  # noqa: S606 - replaces this process


if __name__ == "__main__":
    if "worker" in sys.argv:
        work()
    asyncio.run(main())
