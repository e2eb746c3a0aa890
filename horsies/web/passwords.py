"""Hashes of passwords, with scrypt."""

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Self

_COST = 1 << 14
_BLOCK_SIZE = 8
_PARALLEL = 1
_SALT_BYTES = 16
_KEY_BYTES = 32
_MAX_COST = 1 << 18
_MAX_FACTOR = 64
_MAX_MEMORY = 512 << 20


@dataclass(frozen=True, slots=True)
class PasswordHash:
    """The hash of a password with its parameters. As text: ``scrypt:COST:BLOCK:PARALLEL:SALT:KEY``."""

    cost: int
    block_size: int
    parallel: int
    salt: bytes
    key: bytes

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text that `hash_password` has returned.

        Raises:
            ValueError: The text has another form.
        """
        parts = text.strip().split(":")
        if len(parts) != 6 or parts[0] != "scrypt":  # noqa: PLR2004 - the fields above
            message = "a password hash has the form scrypt:COST:BLOCK:PARALLEL:SALT:KEY; make one with --hash-password"
            raise ValueError(message)
        cost, block_size, parallel = map(int, parts[1:4])
        salt, key = (base64.b64decode(part, validate=True) for part in parts[4:])
        in_range = 1 < cost <= _MAX_COST and 0 < block_size <= _MAX_FACTOR and 0 < parallel <= _MAX_FACTOR
        if not in_range or len(key) < _SALT_BYTES or cost & (cost - 1):
            message = "the parameters of the password hash are out of range; make a new one with --hash-password"
            raise ValueError(message)
        return cls(cost, block_size, parallel, salt, key)

    def __str__(self) -> str:
        """Return the text that `parse` reads."""
        salt, key = (base64.b64encode(part).decode() for part in (self.salt, self.key))
        return f"scrypt:{self.cost}:{self.block_size}:{self.parallel}:{salt}:{key}"

    def matches(self, password: str) -> bool:
        """Return whether this is the hash of a password. It takes about 50 ms, and the same time for any password."""
        return hmac.compare_digest(self.key, self._derive(password, len(self.key)))

    def _derive(self, password: str, length: int) -> bytes:
        return hashlib.scrypt(
            password.encode("utf-8", "surrogatepass"),
            salt=self.salt,
            n=self.cost,
            r=self.block_size,
            p=self.parallel,
            maxmem=_MAX_MEMORY,
            dklen=length,
        )

    @classmethod
    def of(cls, password: str) -> Self:
        """Hash a password with a new salt."""
        empty = cls(_COST, _BLOCK_SIZE, _PARALLEL, secrets.token_bytes(_SALT_BYTES), b"")
        return cls(_COST, _BLOCK_SIZE, _PARALLEL, empty.salt, empty._derive(password, _KEY_BYTES))


def hash_password(password: str) -> str:
    """Return the hash of a password for `BasicAuth`, as text."""
    return str(PasswordHash.of(password))
