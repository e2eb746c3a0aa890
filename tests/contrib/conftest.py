from collections.abc import Iterator

import psycopg
import pytest
from django.test import override_settings

from horsies import Horsies
from tests.contrib.back_ends import TASKS
from tests.support.callers import OLDEST_FOR_DJANGO, django_database


@pytest.fixture
def django_queue(tcp_database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Horsies]:
    """The app of the back ends, while Django's default database and the app are both the database of the test."""
    with psycopg.connect(tcp_database_url) as connection:
        if connection.info.server_version < OLDEST_FOR_DJANGO:
            pytest.skip("this Django needs a newer PostgreSQL")
    with django_database(tcp_database_url), override_settings(TASKS=TASKS, USE_TZ=True):
        from tests.contrib import queue as module  # noqa: PLC0415 - after Django was set up

        queue = module.make_queue(tcp_database_url)
        monkeypatch.setattr(module, "queue", queue)
        yield queue
        queue.close()
