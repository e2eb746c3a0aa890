"""The database of a Django project, and its connections in workers."""

from collections.abc import Iterator
from urllib.parse import quote, urlencode

from django.db import DEFAULT_DB_ALIAS, close_old_connections, connections
from psycopg.pq import Conninfo

from horsies.tasks.current import CurrentTask

_SET_BY_HORSIES = {"client_encoding"}


def database_url(alias: str = DEFAULT_DB_ALIAS) -> str:
    """Return the URL of a PostgreSQL database of the project, for ``PostgresConfig(database_url=database_url())``.

    The URL has the name, the credentials and those ``OPTIONS`` that are connection parameters of libpq, such as
    ``sslmode`` and ``service``.

    Args:
        alias: The key of the database in ``DATABASES``. Default: ``default``.
    """
    keywords = {option.keyword.decode() for option in Conninfo.get_defaults()} - _SET_BY_HORSIES
    parameters = connections[alias].get_connection_params()
    given = {name: str(value) for name, value in parameters.items() if name in keywords and value is not None}
    return "postgresql:///?" + urlencode(given, quote_via=quote)


def close_connections(_task: CurrentTask) -> Iterator[None]:
    """Close Django's unusable and expired connections before and after a ``def`` task, as Django does for a request.

    Register it with ``app.around_task(close_connections)``. The tasks of Django's ``@task`` do this without the hook.
    """
    close_old_connections()
    yield
    close_old_connections()
