"""The app. Its URL leads nowhere: no test may use it."""

import os

from django.db import close_old_connections

from horsies import AppConfig, Horsies, PostgresConfig

SCHEMA = os.environ.get("PROJECT_SCHEMA", "horsies")
queue = Horsies(AppConfig(broker=PostgresConfig(database_url="postgresql://nobody@127.0.0.1:1/nowhere", schema=SCHEMA)))


@queue.around_task
def close_connections(_task):
    close_old_connections()
    yield
    close_old_connections()
