"""The permissions of the web interface. ``manage.py migrate`` creates them, such as ``horsies.view``."""

from typing import Any, ClassVar, override

from django.db import models


class _Nothing(models.Manager["WebInterface"]):
    """Finds no rows, because there is no table. Commands such as ``dumpdata`` read all rows of each model."""

    @override
    def get_queryset(self) -> models.QuerySet["WebInterface"]:
        return super().get_queryset().none()


class WebInterface(models.Model):  # noqa: DJ008 - there are no rows that anybody could print
    """A model without a table. Django's permissions belong to models, and these are those of the web interface."""

    objects: ClassVar[models.Manager[Any]] = _Nothing()

    class Meta:
        """The permissions. Their names are those of the rights of the web interface."""

        managed = False
        base_manager_name = "objects"
        default_permissions = ()
        verbose_name = "web interface"
        permissions = (
            ("view", "Can see queues, tasks, errors and workers"),
            ("see_arguments", "Can see arguments, results and tracebacks of tasks"),
            ("cancel", "Can cancel tasks"),
            ("rerun", "Can send ended tasks again"),
            ("pause", "Can pause and resume queues, keys and schedules"),
            ("limit", "Can change the limits of queues"),
            ("send", "Can send tasks, and run schedules now"),
            ("workflows", "Can pause, resume and cancel workflow runs"),
        )
