"""A TCP proxy in front of PostgreSQL that delays each direction by half of a round trip.

    python delay_proxy.py HOST PORT ROUND_TRIP_MS

HOST is a name or the folder of a Unix socket. The program prints its port, and runs until it is terminated.
"""

import asyncio
import sys
from pathlib import Path

CHUNK = 65_536


async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter, delay_s: float) -> None:
    """Forward bytes in order, each chunk so many seconds after it has arrived."""
    loop = asyncio.get_running_loop()
    chunks = asyncio.Queue[tuple[float, bytes]]()

    async def deliver() -> None:
        while True:
            due, data = await chunks.get()
            await asyncio.sleep(due - loop.time())
            if not data:
                target.write_eof()
                return
            target.write(data)
            await target.drain()

    delivering = asyncio.create_task(deliver())
    try:
        while data := await source.read(CHUNK):
            chunks.put_nowait((loop.time() + delay_s, data))
    except ConnectionError:
        delivering.cancel()  # the other side is gone, so nothing has to be delivered
        target.close()
        return
    chunks.put_nowait((loop.time() + delay_s, b""))
    await asyncio.gather(delivering, return_exceptions=True)


async def serve(host: str, port: int, delay_s: float) -> None:
    """Accept connections, and forward each one."""

    async def forward(client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        if host.startswith("/"):
            server, to_server = await asyncio.open_unix_connection(str(Path(host) / f".s.PGSQL.{port}"))
        else:
            server, to_server = await asyncio.open_connection(host, port)
        await asyncio.gather(pump(client, to_server, delay_s), pump(server, to_client, delay_s))
        to_server.close()
        to_client.close()

    listening = await asyncio.start_server(forward, "127.0.0.1", 0)
    print(listening.sockets[0].getsockname()[1], flush=True)
    await listening.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]) / 2000))
