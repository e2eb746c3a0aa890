"""The horsies app. Views, models and tasks import `queue` from here."""

from horsies import AppConfig, Horsies, PostgresConfig
from horsies.contrib.django import close_connections, database_url

queue = Horsies(AppConfig(broker=PostgresConfig(database_url=database_url())))
queue.around_task(close_connections)
