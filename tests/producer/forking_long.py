"""A producer whose children live on. test_fork.py runs it with a URL over TCP. It prints one line of JSON.

The process forks while its pools have idle connections, while a thread listens, and while a thread is in a transaction.
"""

import asyncio
import json
import os
import sys
import threading
from collections.abc import Iterator

import psutil

from horsies import PostgresConfig
from tests.producer.shop import Shop

shop = Shop(PostgresConfig(database_url=sys.argv[1]))
port = int(sys.argv[2])
in_transaction, end_transaction = threading.Event(), threading.Event()


def sockets() -> list[int]:
    """Return the local ports of the connections of this process to the server."""
    ends = psutil.Process().net_connections("tcp")
    return sorted(each.laddr.port for each in ends if each.raddr and each.raddr.port == port)


def items() -> Iterator[tuple[int]]:
    for number in range(20_000):
        yield (number,)
    in_transaction.set()
    end_transaction.wait()


def main() -> None:
    handle = shop.add.send(1).unwrap()
    runner = asyncio.Runner()
    runner.run(handle.info_async())
    while len(sockets()) < 3:  # idle in both pools, and listening
        handle.get(timeout_ms=100)
    sending = threading.Thread(target=lambda: shop.add.send_many(items()).unwrap())
    sending.start()
    in_transaction.wait()
    shop.add.send(2).unwrap()
    listened, reached = os.pipe()
    lives, left = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(left)
        os.write(reached, json.dumps(sockets()).encode())
        os.read(lives, 1)  # returns when the parent has closed its end
        os._exit(0)
    in_child = json.loads(os.read(listened, 10_000))
    end_transaction.set()
    sending.join()
    before = sockets()
    runner.close()
    shop.app.close()
    print(json.dumps({"child": in_child, "parent": before, "closed": sockets()}))  # noqa: T201 - the test reads it
    os.close(left)
    os.waitpid(pid, 0)


main()
