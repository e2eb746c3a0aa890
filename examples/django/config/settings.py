"""Settings for development. The variables PGHOST, PGPORT, PGUSER and PGPASSWORD of libpq name the server."""

import os

SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY", "only for development")
DEBUG = "DJANGO_SECRET_KEY" not in os.environ
ALLOWED_HOSTS = os.environ.get("DJANGO_ALLOWED_HOSTS", "").split()

INSTALLED_APPS = ["horsies.contrib.django", "orders"]  # horsies.contrib.django adds `manage.py horsies`
ROOT_URLCONF = "config.urls"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": os.environ.get("PGDATABASE", "shop"),
        "CONN_MAX_AGE": 60,
    }
}
TASKS = {
    "default": {
        "BACKEND": "horsies.contrib.django.backend.HorsiesBackend",
        "OPTIONS": {"app": "config.queue.queue"},
    }
}
EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
