"""The Django app, for ``INSTALLED_APPS``: it adds the command ``manage.py horsies``."""

from django.apps import AppConfig


class HorsiesConfig(AppConfig):
    """The configuration of the Django app. It has no models: the tables of horsies have migrations of their own."""

    name = "horsies.contrib.django"
    label = "horsies"
    verbose_name = "horsies"
