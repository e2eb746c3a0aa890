"""A producer that forks. test_fork.py runs it with the URL of the database and the name of an event loop.

Each process prints one line.
"""

import json
import multiprocessing
import os
import sys
import threading

from horsies import PostgresConfig
from tests.producer.shop import Shop, run_in

shop = Shop(PostgresConfig(database_url=sys.argv[1], pool_size=1, max_overflow=0))


def backend() -> int:
    """Return the backend that serves this process."""
    with shop.app._drivers._sync._open_pool().connection() as connection:
        return connection.info.backend_pid


def work(name: str) -> None:
    """Send and get many times in both styles, and print the connection that was used."""
    before = backend()
    for number in range(5):
        assert shop.add.send(number).unwrap().get(timeout_ms=20_000).ok_value == 1
    assert run_in(sys.argv[2], work_async()) == [1] * 5
    assert backend() == before, "the connection was lost on the way"
    say(name, before)


def say(name: str, value: object) -> None:
    """Print a line without buffering, because forks copy the buffer."""
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
        sys.exit(7)  # the normal exit, with all registered exit handlers
    idle = os.fork()
    if idle == 0:
        sys.exit(8)  # the app was not used
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
