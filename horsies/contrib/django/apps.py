"""The Django app, for ``INSTALLED_APPS``: it adds ``manage.py horsies``, and the permissions of the web interface."""

from django.apps import AppConfig


class HorsiesConfig(AppConfig):
    """The configuration of the Django app. It has no tables: those of horsies have migrations of their own."""

    name = "horsies.contrib.django"
    label = "horsies"
    verbose_name = "horsies"
    default_auto_field = "django.db.models.BigAutoField"
