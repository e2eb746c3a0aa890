"""Where requests may come from: the host that they name, and the pages that send them."""

from dataclasses import dataclass
from http import HTTPMethod
from typing import Self
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

ACTION_HEADER = "horsies-action"
"""The header of programs that send actions. Pages of other sites cannot set it without permission."""

_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
_SAFE_METHODS = frozenset({HTTPMethod.GET, HTTPMethod.HEAD})
_SCHEMES = frozenset({"http", "https"})


@dataclass(frozen=True, slots=True)
class PublicUrl:
    """The URL under which users open the pages.

    Attributes:
        origin: The scheme, host and port, such as ``https://ops.example.com``.
        host: The host without the port.
    """

    origin: str
    host: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a URL.

        Raises:
            ValueError: It is not an absolute HTTP URL.
        """
        parts = urlsplit(text.strip())
        if parts.scheme not in _SCHEMES or not parts.hostname or parts.username is not None:
            message = "the public URL must be like https://ops.example.com"
            raise ValueError(message)
        return cls(_origin(parts.scheme, parts.hostname, parts.port), parts.hostname)


def is_known_host(connection: HTTPConnection, public: PublicUrl | None) -> bool:
    """Return whether a request names this machine or the public host.

    A page of another site can let its name resolve to a local address (DNS rebinding). Its requests then name its host.
    """
    hosts = connection.headers.getlist("host")
    if len(hosts) != 1:
        return False
    parts = _host_parts(hosts[0])
    return parts is not None and (parts[0] in _LOCAL_HOSTS or (public is not None and parts[0] == public.host))


def is_from_own_page(connection: HTTPConnection, public: PublicUrl | None) -> bool:
    """Return whether a request that acts was sent by our own page, or by a program that says so."""
    sites = connection.headers.getlist("sec-fetch-site")
    if sites:
        return sites == ["same-origin"]
    origins = connection.headers.getlist("origin")
    if origins:
        return len(origins) == 1 and origins[0] in _own_origins(connection, public)
    return connection.headers.get(ACTION_HEADER) == "1"


def is_safe(method: str) -> bool:
    """Return whether a method changes nothing."""
    return method in _SAFE_METHODS


def _own_origins(connection: HTTPConnection, public: PublicUrl | None) -> set[str]:
    parts = _host_parts(connection.headers.get("host", ""))
    own = set[str]() if parts is None or parts[0] not in _LOCAL_HOSTS else {_origin(connection.url.scheme, *parts)}
    return own if public is None else {*own, public.origin}


def _origin(scheme: str, host: str, port: int | None) -> str:
    default = {"http": 80, "https": 443}[scheme]
    name = f"[{host}]" if ":" in host else host
    return f"{scheme}://{name}" if port in {None, default} else f"{scheme}://{name}:{port}"


def _host_parts(header: str) -> tuple[str, int | None] | None:
    """Split the header ``Host`` into the host and the port; None: it is invalid."""
    try:
        parts = urlsplit(f"//{header}")
        port = parts.port
    except ValueError:
        return None
    is_plain = parts.netloc == header and parts.username is None
    return (parts.hostname, port) if is_plain and parts.hostname else None
