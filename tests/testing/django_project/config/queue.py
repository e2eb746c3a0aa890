"""The app. Its URL leads nowhere: no test may use it."""

import os

from horsies import AppConfig, Horsies, PostgresConfig

SCHEMA = os.environ.get("PROJECT_SCHEMA", "horsies")
queue = Horsies(AppConfig(broker=PostgresConfig(database_url="postgresql://nobody@127.0.0.1:1/nowhere", schema=SCHEMA)))
