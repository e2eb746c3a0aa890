"""`BasicAuth`: one user with a password."""

import asyncio
import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Iterable
from http import HTTPStatus

from starlette.requests import HTTPConnection

from horsies.web.access import VIEW_ONLY, Denied, Right, User, is_loopback
from horsies.web.passwords import PasswordHash

_MAX_CHARACTERS = 2000
_MAX_CHECKS = 2

_UNKNOWN = Denied(
    "log in with the user and the password of this page",
    HTTPStatus.UNAUTHORIZED,
    'Basic realm="horsies", charset="UTF-8"',
)


class BasicAuth:
    """Accepts one user with a password, by HTTP Basic authentication.

    Passwords are refused over plain HTTP, except from this machine.

    Args:
        user: The name of the user.
        password_hash: The hash of the password, from `hash_password`.
        rights: What the user may do.

    Raises:
        ValueError: The hash has another form.
    """

    def __init__(self, user: str, password_hash: str, rights: Iterable[Right] = VIEW_ONLY) -> None:
        self._user = User(user, frozenset(rights))
        self._hash = PasswordHash.parse(password_hash)
        self._secret = secrets.token_bytes(32)
        self._accepted: bytes | None = None
        self._checks = asyncio.Semaphore(_MAX_CHECKS)

    async def __call__(self, connection: HTTPConnection, /) -> User | Denied:
        """Return the user if the password is right."""
        if connection.url.scheme != "https" and not is_loopback(connection):
            return Denied("passwords are only accepted over HTTPS: open this page with https://")
        given = _credentials(connection.headers.getlist("authorization"))
        if given is None:
            return _UNKNOWN
        return self._user if await self._is_right(*given) else _UNKNOWN

    async def _is_right(self, name: str, password: str) -> bool:
        # Each page has several requests, so the digest of the last accepted password is kept. Its key is random.
        encoded = (part.encode("utf-8", "surrogatepass") for part in (name, password))
        digest = hmac.digest(self._secret, b"\0".join(encoded), hashlib.sha256)
        if self._accepted is not None and hmac.compare_digest(digest, self._accepted):
            return True
        async with self._checks:  # each check needs 16 MB and a processor
            matches = await asyncio.to_thread(self._hash.matches, password)
        is_user = hmac.compare_digest(name.encode("utf-8", "surrogatepass"), self._user.name.encode())
        if not (matches and is_user):
            return False
        self._accepted = digest
        return True


def _credentials(headers: list[str]) -> tuple[str, str] | None:
    """Return the name and the password of a request; None: it has no valid ones."""
    if len(headers) != 1 or len(headers[0]) > _MAX_CHARACTERS:
        return None
    scheme, _, encoded = headers[0].partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (name, password) if colon else None
