"""A producer whose threads and coroutines send and wait while it forks. It gets a URL and an event loop's name."""

import asyncio
import json
import os
import sys
import threading

from horsies import PostgresConfig
from tests.producer.shop import Shop, run_in

FORKS = 3
THREADS = 4
COROUTINES = 8
LOOP = sys.argv[2]

shop = Shop(PostgresConfig(database_url=sys.argv[1], pool_size=3, max_overflow=0))
stop = threading.Event()
sent: list[str] = []


def say(**line: object) -> None:
    """Write a line without buffering, because forks copy the buffer."""
    os.write(1, (json.dumps(line) + "\n").encode())


def send_and_wait() -> None:
    """Send tasks and wait for them, until the forks are over."""
    while not stop.is_set():
        handle = shop.add.send(1).unwrap()
        sent.append(handle.task_id)
        assert handle.get(timeout_ms=20_000).ok_value == 1


async def send_and_wait_async() -> None:
    while not stop.is_set():
        handle = (await shop.add.send_async(1)).unwrap()
        sent.append(handle.task_id)
        assert (await handle.get_async(timeout_ms=20_000)).ok_value == 1


async def use_everything() -> list[str]:
    """Send and wait in the child, with several coroutines."""

    async def one() -> str:
        handle = (await shop.add.send_async(1)).unwrap()
        assert (await handle.get_async(timeout_ms=20_000)).ok_value == 1
        return handle.task_id

    return await asyncio.gather(*(one() for _ in range(COROUTINES)))


def child(number: int) -> None:
    """Use the app in both styles, and report the connections of this process."""
    handle = shop.add.send(1).unwrap()
    assert handle.get(timeout_ms=20_000).ok_value == 1
    ids = [handle.task_id, *run_in(LOOP, use_everything()), *run_in(LOOP, use_everything())]
    with shop.app._drivers._sync._open_pool().connection() as connection:
        backends = [connection.info.backend_pid]
    say(child=number, backends=backends, ids=ids)


async def fork_in_a_loop() -> list[int]:
    """Fork while coroutines of this loop and threads use the app; return the children."""
    users = [asyncio.create_task(send_and_wait_async()) for _ in range(COROUTINES)]
    children: list[int] = []
    for number in range(FORKS):
        before = len(sent)
        while len(sent) < before + THREADS:  # noqa: ASYNC110 - threads send too
            await asyncio.sleep(0.001)
        pid = os.fork()
        if pid == 0:
            # The event loop of the parent belongs to the parent: a child that goes on must use its own loop.
            asyncio._set_running_loop(None)
            try:
                child(number)
            except BaseException as error:  # noqa: BLE001 - a child must not go on as its parent
                say(failed=number, error=repr(error))
                os._exit(1)
            os._exit(0)
        children.append(pid)
    stop.set()
    await asyncio.gather(*users)
    return children


def main() -> None:
    threads = [threading.Thread(target=send_and_wait) for _ in range(THREADS)]
    for each in threads:
        each.start()
    children = run_in(LOOP, fork_in_a_loop())
    for each in threads:
        each.join()
    say(codes=[os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children])
    handle = shop.add.send(1).unwrap()
    sent.append(handle.task_id)
    assert handle.get(timeout_ms=20_000).ok_value == 1
    say(sent=sent)


main()
