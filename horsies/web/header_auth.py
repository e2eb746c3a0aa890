"""`HeaderAuth`: users that a proxy has authenticated."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from ipaddress import ip_network

from starlette.requests import HTTPConnection

from horsies.rendering import printable_line
from horsies.web.access import VIEW_ONLY, Denied, Right, User, peer_address

_MAX_CHARACTERS = 200


class HeaderAuth:
    """Accepts the users whom a trusted proxy names in a header of each request.

    The address of the proxy is that of the peer of the socket. So the server must not replace it by a header: start
    uvicorn with ``proxy_headers=False`` (``--no-proxy-headers``).

    Args:
        header: The name of the header, such as ``X-Forwarded-User``.
        trusted_proxies: The addresses of the proxies, as networks such as ``10.0.0.0/8`` or ``127.0.0.1/32``.
        rights: What users may do, by name. All others may view.

    Raises:
        ValueError: A network is invalid, or there is none.
    """

    def __init__(
        self, header: str, trusted_proxies: Iterable[str], rights: Mapping[str, Iterable[Right]] | None = None
    ) -> None:
        self._header = header.lower()
        self._networks = [ip_network(network) for network in trusted_proxies]
        if not self._networks:
            message = "name at least one trusted proxy, such as 10.0.0.5/32"
            raise ValueError(message)
        self._rights = {name: frozenset(each) | VIEW_ONLY for name, each in (rights or {}).items()}

    async def __call__(self, connection: HTTPConnection, /) -> User | Denied:
        """Return the user whom the proxy names."""
        peer = peer_address(connection)
        if peer is None or not any(peer in network for network in self._networks):
            return Denied("this address is not that of a trusted proxy")
        values = connection.headers.getlist(self._header)
        if len(values) > 1:
            return Denied(f"the header {self._header} is repeated: the proxy must remove the one of the client")
        name = _decoded(values[0]).strip() if values else ""
        if not name:
            return Denied("log in first: the proxy has named no user", HTTPStatus.UNAUTHORIZED)
        if len(name) > _MAX_CHARACTERS or printable_line(name) != name:
            return Denied(f"the header {self._header} is not a valid name")
        return User(name, self._rights.get(name, VIEW_ONLY))


def _decoded(value: str) -> str:
    """Return the text of a header, which was read as Latin-1. Most proxies send names in UTF-8."""
    try:
        return value.encode("latin-1").decode()
    except UnicodeDecodeError:
        return value
