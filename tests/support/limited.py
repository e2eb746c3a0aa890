"""Roles with restrictions."""

import uuid
from collections.abc import Generator
from contextlib import contextmanager
from urllib.parse import urlsplit

from psycopg.sql import SQL, Identifier

from tests.support.server import PASSWORD, Server


@contextmanager
def limited_role(server: Server, database_url: str, connections: int) -> Generator[str]:
    """A role with the rights of the owner of the schema and a limit of connections (-1: none); a URL of the database."""
    role = f"limited_{uuid.uuid4().hex[:10]}"
    with server.connect() as admin:
        create = SQL("create role {} login password {} connection limit {} in role {}")
        admin.execute(create.format(Identifier(role), PASSWORD, connections, Identifier(admin.info.user)))
    place = urlsplit(server.tcp_url)
    netloc = f"{role}:{PASSWORD}@{place.hostname}:{place.port}"
    yield place._replace(netloc=netloc, path=urlsplit(database_url).path).geturl()
    with server.connect() as admin:
        admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = %s", (role,))
        admin.execute(SQL("drop role {}").format(Identifier(role)))
