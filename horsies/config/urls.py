"""Parsing and validation of database URLs."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import psycopg
from psycopg.conninfo import conninfo_to_dict

from horsies.errors import ConfigurationError, ErrorCode
from horsies.masking import is_ambiguous, mask_secrets, remember_secrets, split_url

_LIBPQ_DIALECTS = frozenset({"postgresql", "postgres"})
_EMBEDDED_SCHEME = "embedded"
_SCHEME = re.compile(r"[a-z][a-z0-9+._-]{0,39}", re.IGNORECASE)
_EXAMPLE = "postgresql://user:password@localhost:5432/mydb"
_LAST_PORT = 65535


@dataclass(frozen=True, slots=True)
class LibpqUrl:
    """A database that is reached through libpq."""

    text: str

    @property
    def keywords(self) -> frozenset[str]:
        """The connection keywords that the URL itself sets, such as ``host`` and ``connect_timeout``."""
        return frozenset(conninfo_to_dict(self.text))

    def masked(self) -> str:
        """Return the URL with its secrets masked."""
        return split_url(self.text).masked()


@dataclass(frozen=True, slots=True)
class EmbeddedUrl:
    """A database of the embedded server in a folder."""

    path: Path


def parse_url(text: str, origin: str) -> LibpqUrl | EmbeddedUrl:
    """Parse a database URL, and remember its secrets so that `mask_secrets` masks them from now on.

    Args:
        text: ``postgresql://…``, ``postgres://…`` or ``embedded:///absolute/path``. A driver in the scheme, as in
            SQLAlchemy's ``postgresql+asyncpg://…``, is ignored: horsies always connects with psycopg.
        origin: The field or environment variable that holds the URL, for error messages.

    Raises:
        ConfigurationError: HRS-203: The URL is invalid. The message shows at most the scheme, because the rest of the
            URL may contain a password.
    """
    scheme, separator, rest = text.partition("://")
    if not separator or not _SCHEME.fullmatch(scheme):
        message = f"{origin} is not a URL"
        raise _invalid_url(message, help_text=f"write it like {_EXAMPLE}")
    if scheme.lower() == _EMBEDDED_SCHEME:
        return _parse_embedded(rest, origin)
    if scheme.lower().partition("+")[0] not in _LIBPQ_DIALECTS:
        message = f"{origin} has the unsupported scheme {scheme!r}"
        raise _invalid_url(message, help_text="use postgresql://, postgres:// or embedded:///path")
    url = LibpqUrl(f"postgresql://{rest}")
    remember_secrets(url.text)
    _check_libpq(url.text, origin)
    return url


def with_driver(url: str, driver: str | None) -> str:
    """Name a driver in the scheme of a libpq URL, as SQLAlchemy needs it; None: no driver, as libpq needs it."""
    scheme = "postgresql" if driver is None else f"postgresql+{driver}"
    return f"{scheme}://{url.partition('://')[2]}"


def _parse_embedded(rest: str, origin: str) -> EmbeddedUrl:
    if not rest.startswith("/") or "\0" in rest:
        message = f"{origin} does not contain an absolute path to the folder of the embedded server"
        raise _invalid_url(message, help_text="write it with three slashes: embedded:///home/me/project/.horsies/pg")
    return EmbeddedUrl(Path(unquote(rest)))


def _check_libpq(url: str, origin: str) -> None:
    reason = _unreadable_reason(url)
    if reason is not None:
        # Part of a password may be parsed as another part of the URL, so the message quotes nothing of the URL.
        notes = [reason] if mask_secrets(url) == url else []
        message = f"{origin} cannot be read as a PostgreSQL URL"
        help_text = (
            f"write it like {_EXAMPLE}, percent-encode / @ : ? # % in the user name and the password, "
            "and use libpq's names for parameters, such as sslmode"
        )
        raise _invalid_url(message, notes=notes, help_text=help_text)


def _unreadable_reason(url: str) -> str | None:
    """Return why libpq cannot use the URL, or None if it can.

    The reason quotes no part of the URL except the name of an unknown parameter.
    """
    if "\0" in url:
        return "it contains a NUL character"
    if is_ambiguous(url):
        return "it is ambiguous which @ ends the password"
    try:
        keywords = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        unknown = [key for key, _ in split_url(url).parameters if key.isidentifier() and key not in _libpq_keywords()]
        return f"libpq does not know the parameter {unknown[0]!r}" if unknown else "libpq cannot read it"
    ports = str(keywords.get("port", "")).split(",")
    is_wrong = any(port and not (port.isascii() and port.isdecimal() and 0 < int(port) <= _LAST_PORT) for port in ports)
    return f"a port is not a number from 1 to {_LAST_PORT}" if is_wrong else None


def _libpq_keywords() -> frozenset[str]:
    return frozenset(option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults())


def _invalid_url(message: str, *, notes: list[str] | None = None, help_text: str) -> ConfigurationError:
    return ConfigurationError(ErrorCode.BROKER_INVALID_URL, message, notes=notes or (), help_text=help_text)
