"""Settings of a small Django project, for real worker processes."""

import os

from psycopg.conninfo import conninfo_to_dict

from tests.contrib.back_ends import TASKS

__all__ = ["TASKS"]
_PARTS = conninfo_to_dict(os.environ["DJANGO_TEST_DATABASE_URL"])

INSTALLED_APPS = ["horsies.contrib.django", "tests.contrib"]
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {"django.tasks": {"handlers": ["console"], "level": "INFO"}},
}
SECRET_KEY = "only for tests"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": _PARTS["dbname"],
        "USER": _PARTS["user"],
        "PASSWORD": _PARTS["password"],
        "HOST": _PARTS["host"],
        "PORT": _PARTS["port"],
    }
}
