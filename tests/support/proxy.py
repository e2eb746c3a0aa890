"""A TCP proxy in front of PostgreSQL that interrupts connections as networks do."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Literal
from urllib.parse import urlsplit

type Direction = Literal["to server", "to client"]
type Link = tuple[socket.socket, socket.socket]

_DIRECTIONS: tuple[Direction, ...] = ("to server", "to client")
_CHUNK = 65_536
_POLL_S = 0.05


class Proxy:
    """Forwards connections from its own port, and simulates network failures on request."""

    def __init__(self, target_url: str) -> None:
        """Listen for connections, to be forwarded to the host and port of a URL."""
        target = urlsplit(target_url)
        assert target.hostname, f"no TCP host in {target_url}"
        self._target = (target.hostname, target.port or 5432)
        self._lock = threading.Lock()
        self._links: set[Link] = set()
        self._left: dict[Direction, int] = {}
        self._is_flowing = {direction: threading.Event() for direction in _DIRECTIONS}
        self.resume()
        self._listener = self._listen(0)
        self.port: int = self._listener.getsockname()[1]
        self.accepted = 0

    def url(self, database_url: str) -> str:
        """Return a URL that leads to the same database through the proxy."""
        parts = urlsplit(database_url)
        user = parts.netloc.rpartition("@")[0]
        return parts._replace(netloc=f"{user}@127.0.0.1:{self.port}").geturl()

    @property
    def open_connections(self) -> int:
        """Return the number of connected clients."""
        with self._lock:
            return len(self._links)

    def cut(self) -> None:
        """Close all connections now. New ones are accepted."""
        with self._lock:
            links = list(self._links)
        for link in links:
            self._end(link)

    def cut_after(self, size: int, direction: Direction) -> None:
        """Close all connections once, when more than ``size`` further bytes are sent in one direction."""
        with self._lock:
            self._left[direction] = size

    def stall(self, *directions: Direction) -> None:
        """Simulate a dead network: forward nothing, in one or both directions, but close no connection."""
        for direction in directions or _DIRECTIONS:
            self._is_flowing[direction].clear()

    def resume(self) -> None:
        """End a stall, and forward the delayed bytes."""
        for flows in self._is_flowing.values():
            flows.set()

    def refuse(self) -> None:
        """Refuse new connections; existing ones stay open."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listener.close()

    def accept(self) -> None:
        """Accept new connections again."""
        self._listener = self._listen(self.port)

    def close(self) -> None:
        """Close the proxy and all connections."""
        self.refuse()
        self.cut()

    def _listen(self, port: int) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", port))
        _start(self._accept_all, listener)
        return listener

    def _accept_all(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                self.accepted += 1
                self._connect(client)

    def _connect(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._target)
        except OSError:  # the server itself is down, and the client must notice that
            client.close()
            return
        link = (client, server)
        for end in link:
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # otherwise each small reply is delayed by 40 ms
        with self._lock:
            self._links.add(link)
        _start(self._pump, link, client, server, "to server")
        _start(self._pump, link, server, client, "to client")

    def _pump(self, link: Link, source: socket.socket, target: socket.socket, direction: Direction) -> None:
        with suppress(OSError):
            while data := source.recv(_CHUNK):
                while not self._is_flowing[direction].wait(_POLL_S):
                    if link not in self._links:
                        return
                allowed = self._allow(len(data), direction)
                target.sendall(data[:allowed])
                if allowed < len(data):
                    self.cut()
        self._end(link)

    def _allow(self, size: int, direction: Direction) -> int:
        with self._lock:
            left = self._left.get(direction, size)
            if left < size:
                del self._left[direction]
            elif direction in self._left:
                self._left[direction] -= size
            return min(left, size)

    def _end(self, link: Link) -> None:
        with self._lock:
            self._links.discard(link)
        for end in link:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)  # wakes the thread that receives
            end.close()


def _start(work: Callable[..., None], *args: object) -> None:
    threading.Thread(target=work, args=args, daemon=True).start()
