"""A database whose name, owner and password need quotes wherever they are written."""

import uuid
from collections.abc import Generator
from contextlib import contextmanager
from urllib.parse import quote, urlsplit

from psycopg.sql import SQL, Identifier

from tests.support.databases import new_database
from tests.support.server import Server, database_name

ODD = ' Odd "name" ž; drop %s\\'
ODD_PASSWORD = "p@:/?#%&= '\"\\ž"
LONGEST_SCHEMAS = {
    "letters": "x" * 48,
    "two bytes each": "ž" * 24,
    "four bytes each": "🐎" * 12,
    "quotes": '"' * 24,
    "all at once": 'Ünusual "name"; drop schema horsies.; -- 🐎',
}
"""Names of schemas, each with as many bytes as it may have or nearly so."""


@contextmanager
def odd_database(server: Server) -> Generator[str]:
    """Create an empty database that belongs to a role without other rights. Yield the role's URL over TCP."""
    role = f"{uuid.uuid4().hex[:10]}{ODD}"
    with new_database(server, suffix=ODD) as url, server.connect() as admin:
        admin.execute(SQL("create role {} login password {}").format(Identifier(role), ODD_PASSWORD))
        owner = SQL("alter database {} owner to {}")
        admin.execute(owner.format(Identifier(database_name(url)), Identifier(role)))
        place = urlsplit(server.tcp_url)
        user, password = (quote(text, safe="") for text in (role, ODD_PASSWORD))
        netloc = f"{user}:{password}@{place.hostname}:{place.port}"
        yield place._replace(netloc=netloc, path=urlsplit(url).path).geturl()
    with server.connect() as admin:
        admin.execute(SQL("drop role {}").format(Identifier(role)))
