"""The conversation between `peers.py` and the program of a peer: one line of JSON for each request and each answer.

Each program runs in the virtual environment of its peer, so this module imports the standard library only.
"""

import asyncio
import json
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor


class Program(ABC):
    """What a peer can do. `peers.py` asks only for the cases that its list says the peer has."""

    @abstractmethod
    async def fill(self, kind: str, count: int) -> None:
        """Send so many tasks of a kind, `sync` or `async`, as fast as the peer can."""

    async def single(self, count: int, senders: int) -> None:
        """Send so many tasks, one at a time from each sender."""
        raise NotImplementedError

    async def round_trip(self) -> None:
        """Send one task, and wait until it has ended."""
        raise NotImplementedError

    async def empty(self) -> None:
        """Remove all tasks and results; only peers that do not use PostgreSQL need this."""
        raise NotImplementedError

    async def outcomes(self) -> list[float]:
        """Return the times in seconds at which outcomes were stored; only peers without PostgreSQL need this."""
        raise NotImplementedError

    async def ended(self) -> int:
        """Return how many outcomes are stored; only peers without PostgreSQL need this."""
        raise NotImplementedError


async def concurrently(count: int, senders: int, send: Callable[[int], Awaitable[object]]) -> None:
    """Call `send` with the numbers below `count` from so many coroutines."""
    numbers = iter(range(count))

    async def sender() -> None:
        for number in numbers:
            await send(number)

    await asyncio.gather(*(sender() for _ in range(senders)))


def in_threads(count: int, senders: int, send: Callable[[int], object]) -> None:
    """Call `send` with the numbers below `count` from so many threads; without threads if there is one sender."""
    if senders == 1:
        for number in range(count):
            send(number)
        return

    def send_part(first: int) -> None:
        for number in range(first, count, senders):
            send(number)

    with ThreadPoolExecutor(senders) as pool:
        list(pool.map(send_part, range(senders)))


async def answer(program: Program, request: dict[str, object]) -> object:
    """Carry out one request; sends are answered with their seconds, round trips with their milliseconds."""
    what, arguments = request["do"], {name: value for name, value in request.items() if name != "do"}
    if what == "latency":
        return [await timed(program.round_trip()) * 1000 for _ in range(int(str(request["count"])))]
    if what in {"fill", "single"}:
        return await timed(getattr(program, str(what))(**arguments))
    return await getattr(program, str(what))()


async def timed(work: Awaitable[object]) -> float:
    """Return how many seconds the work took."""
    start = time.perf_counter()
    await work
    return time.perf_counter() - start


async def serve(program: Program) -> None:
    """Answer each line of standard input until it ends."""
    out = sys.stdout
    sys.stdout = sys.stderr  # whatever a library prints must not be taken for an answer
    print(json.dumps("ready"), file=out, flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(await answer(program, json.loads(line))), file=out, flush=True)
