"""Settings of a Django project with users, for a real ASGI server that has the web interface beside Django."""

import os

from tests.contrib.settings import DATABASES, TASKS

__all__ = ["DATABASES", "TASKS"]

SECRET_KEY = os.environ["DJANGO_TEST_SECRET_KEY"]
SECRET_KEY_FALLBACKS = [key for key in [os.environ.get("DJANGO_TEST_OLD_SECRET_KEY")] if key is not None]
ALLOWED_HOSTS = ["127.0.0.1"]
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "horsies.contrib.django",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
ROOT_URLCONF = "tests.contrib.web_urls"
LOGIN_URL = "/accounts/login/"
LOGIN_REDIRECT_URL = "/somewhere/"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
