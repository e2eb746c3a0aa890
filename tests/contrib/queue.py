"""The horsies app of the project. Tests in this process replace it by one for their own database."""

import os

from horsies import AppConfig, CustomQueueConfig, Horsies, PostgresConfig, QueueMode


def make_queue(database_url: str) -> Horsies:
    return Horsies(
        AppConfig(
            broker=PostgresConfig(database_url=database_url),
            queue_mode=QueueMode.CUSTOM,
            custom_queues=[CustomQueueConfig(name="default"), CustomQueueConfig(name="mail")],
        )
    )


queue = make_queue(os.environ.get("DJANGO_TEST_DATABASE_URL", "postgresql:///unused"))
