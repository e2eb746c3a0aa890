"""A producer that forks: run by test_fork.py with the database's URL. Prints what it saw, a line a process."""

import asyncio
import json
import multiprocessing
import os
import sys
import threading

from horsies import PostgresConfig
from tests.producer.shop import Shop

shop = Shop(PostgresConfig(database_url=sys.argv[1], pool_size=1, max_overflow=0))


def backend() -> int:
    """The backend that serves this process."""
    with shop.app._drivers._sync._open_pool().connection() as connection:
        return connection.info.backend_pid


def work(name: str) -> None:
    """Send and get in both styles, many times, and say over which connection."""
    before = backend()
    for number in range(5):
        assert shop.add.send(number).unwrap().get(timeout_ms=20_000).ok_value == 1
    assert asyncio.run(work_async()) == [1] * 5
    assert backend() == before, "the connection was lost on the way"
    say(name, before)


def say(name: str, value: object) -> None:
    """Print a line at once: forks share what is buffered."""
    sys.stdout.write(json.dumps([name, value]) + "\n")
    sys.stdout.flush()


async def work_async() -> list[int]:
    handles = [(await shop.add.send_async(number)).unwrap() for number in range(5)]
    return [(await handle.get_async(timeout_ms=20_000)).ok_value for handle in handles]


def main() -> None:
    work("first")
    waits = [threading.Thread(target=wait) for _ in range(4)]
    for each in waits:
        each.start()
    by_hand = os.fork()
    if by_hand == 0:
        work("child")
        sys.exit(7)  # by the normal way out, with all that is registered for it
    idle = os.fork()
    if idle == 0:
        sys.exit(8)  # nothing of the app was used
    process = multiprocessing.get_context("fork").Process(target=work, args=("process",))
    process.start()
    for each in waits:
        each.join()
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in (by_hand, idle)]
    process.join()
    say("codes", [*codes, process.exitcode])
    work("last")


def wait() -> None:
    assert shop.add.schedule(1, 1).unwrap().get(timeout_ms=20_000).ok_value == 1


main()
