"""The test runner of `manage.py test`."""

import os
from typing import Any

from django.conf import settings
from django.test.runner import DiscoverRunner

from config.queue import queue
from horsies.contrib.django import database_url


class Runner(DiscoverRunner):
    """Lets horsies, and the workers that tests start, use Django's test database."""

    def setup_databases(self, **kwargs: Any) -> list[tuple[Any, str, bool]]:
        created = super().setup_databases(**kwargs)
        os.environ["PGDATABASE"] = str(settings.DATABASES["default"]["NAME"])
        os.environ["HORSIES_DEV_DATABASE_URL"] = database_url()
        return created

    def teardown_databases(self, old_config: list[tuple[Any, str, bool]], **kwargs: Any) -> None:
        queue.close()
        super().teardown_databases(old_config, **kwargs)
