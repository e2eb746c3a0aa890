"""The app of a ``django.tasks`` back end, for commands: ``horsies worker horsies.contrib.django.entry:app``.

``manage.py horsies`` uses this module. Importing it sets up Django, so ``DJANGO_SETTINGS_MODULE`` must be set. The
tasks are those of the app, and those in the module ``tasks`` of each installed Django app.
"""

import os

import django
from django.apps import apps
from django.tasks import DEFAULT_TASK_BACKEND_ALIAS
from django.utils.module_loading import module_has_submodule

from horsies.contrib.django.backend import find_backend

BACKEND_VARIABLE = "HORSIES_DJANGO_BACKEND"
"""The environment variable that names the back end, a key of ``TASKS``; unset: ``default``."""

django.setup()

app = find_backend(os.environ.get(BACKEND_VARIABLE, DEFAULT_TASK_BACKEND_ALIAS)).app
app.discover_tasks(
    [
        f"{config.name}.tasks"
        for config in apps.get_app_configs()
        if config.module is not None and module_has_submodule(config.module, "tasks")
    ]
)
