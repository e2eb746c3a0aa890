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

from horsies.web.access import VIEW_ONLY, Denied, Right, User, is_from_this_machine
from horsies.web.passwords import PasswordHash

_MAX_CHARACTERS = 2000
_MAX_CHECKS = 2
_MAX_WAITING = 8
_RETRY_AFTER_S = 2

_UNKNOWN = Denied(
    "log in with the user and the password of this page",
    HTTPStatus.UNAUTHORIZED,
    'Basic realm="horsies", charset="UTF-8"',
)
_TOO_MANY = Denied(
    "too many passwords are being checked: try again in a few seconds",
    HTTPStatus.TOO_MANY_REQUESTS,
    retry_after_s=_RETRY_AFTER_S,
)


class BasicAuth:
    """Accepts one user with a password, by HTTP Basic authentication.

    Passwords are refused over plain HTTP, except from this machine. While ten passwords are being checked, requests
    with further ones are answered with 429, so that wrong passwords do not delay others for long. The last accepted
    password needs no such check.

    Args:
        user: The name of the user.
        password_hash: The hash of the password, from `hash_password`.
        rights: The rights of the user.

    Raises:
        ValueError: The hash has another form.
    """

    def __init__(self, user: str, password_hash: str, rights: Iterable[Right] = VIEW_ONLY) -> None:
        self._user = User(user, frozenset(rights))
        self._hash = PasswordHash.parse(password_hash)
        self._secret = secrets.token_bytes(32)
        self._accepted: bytes | None = None
        self._checks = asyncio.Semaphore(_MAX_CHECKS)
        self._pending = 0

    async def __call__(self, connection: HTTPConnection, /) -> User | Denied:
        """Return the user if the password is right."""
        if connection.url.scheme != "https" and not is_from_this_machine(connection):
            return Denied("passwords are only accepted over HTTPS: open this page with https://")
        given = _credentials(connection.headers.getlist("authorization"))
        if given is None:
            return _UNKNOWN
        # Each page has several requests, so the digest of the last accepted password is kept. Its key is random.
        digest = self._digest(*given)
        if self._accepted is not None and hmac.compare_digest(digest, self._accepted):
            return self._user
        if self._pending >= _MAX_CHECKS + _MAX_WAITING:
            return _TOO_MANY
        self._pending += 1
        try:
            if not await self._is_right(*given):
                return _UNKNOWN
        finally:
            self._pending -= 1
        self._accepted = digest
        return self._user

    def _digest(self, name: str, password: str) -> bytes:
        encoded = (part.encode("utf-8", "surrogatepass") for part in (name, password))
        return hmac.digest(self._secret, b"\0".join(encoded), hashlib.sha256)

    async def _is_right(self, name: str, password: str) -> bool:
        async with self._checks:  # each check needs 16 MB and a processor
            matches = await asyncio.to_thread(self._hash.matches, password)
        is_user = hmac.compare_digest(name.encode("utf-8", "surrogatepass"), self._user.name.encode())
        return matches and is_user


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
