"""Database URLs: which ones are accepted, and how libpq spells them."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import psycopg
from psycopg.conninfo import conninfo_to_dict

from horsies.errors import ConfigurationError, ErrorCode
from horsies.masking import mask_secrets

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


@dataclass(frozen=True, slots=True)
class EmbeddedUrl:
    """A database of the embedded server in a folder."""

    path: Path


def parse_url(text: str, origin: str) -> LibpqUrl | EmbeddedUrl:
    """Read a database URL.

    Args:
        text: ``postgresql://…``, ``postgres://…`` or ``embedded:///absolute/path``. A driver in the scheme, as in
            SQLAlchemy's ``postgresql+asyncpg://…``, is ignored: horsies always connects with psycopg.
        origin: what the URL was given as, for messages: a field or an environment variable.

    Raises:
        ConfigurationError: HRS-203; says the scheme at most, for the rest may hold a password.
    """
    scheme, separator, rest = text.partition("://")
    if not separator or not _SCHEME.fullmatch(scheme):
        message = f"{origin} is not a URL"
        raise _refused(message, help_text=f"write it like {_EXAMPLE}")
    if scheme.lower() == _EMBEDDED_SCHEME:
        return _parse_embedded(rest, origin)
    if scheme.lower().partition("+")[0] not in _LIBPQ_DIALECTS:
        message = f"{origin} has the scheme {scheme!r}, which is not a PostgreSQL one that horsies knows"
        raise _refused(message, help_text="use postgresql://, postgres:// or embedded:///path")
    url = LibpqUrl(f"postgresql://{rest}")
    _check_libpq(url.text, origin)
    return url


def _parse_embedded(rest: str, origin: str) -> EmbeddedUrl:
    if not rest.startswith("/") or "\0" in rest:
        message = f"{origin} does not name the folder of the embedded server by an absolute path"
        raise _refused(message, help_text="write it with three slashes: embedded:///home/me/project/.horsies/pg")
    return EmbeddedUrl(Path(unquote(rest)))


def _check_libpq(url: str, origin: str) -> None:
    reason = _why_unreadable(url)
    if reason is not None:
        # libpq quotes what it stumbles over, and that may be a part of the password.
        notes = [f"libpq says: {reason}"] if mask_secrets(url) == url else []
        message = f"{origin} cannot be read as a PostgreSQL URL"
        help_text = (
            f"write it like {_EXAMPLE}, percent-encode / @ : ? # % in user and password, "
            "and use libpq's names for parameters, such as sslmode"
        )
        raise _refused(message, notes=notes, help_text=help_text)


def _why_unreadable(url: str) -> str | None:
    if "\0" in url:
        return "it contains a NUL character"
    try:
        keywords = conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        return " ".join(str(error).split())
    ports = str(keywords.get("port", "")).split(",")
    wrong = [
        port for port in ports if port and not (port.isascii() and port.isdecimal() and 0 < int(port) <= _LAST_PORT)
    ]
    return f"invalid port {wrong[0]!r}" if wrong else None


def _refused(message: str, *, notes: list[str] | None = None, help_text: str) -> ConfigurationError:
    return ConfigurationError(ErrorCode.BROKER_INVALID_URL, message, notes=notes or (), help_text=help_text)
