"""Integration with Django: the database URL of a project, a connection hook, and a back end for ``django.tasks``.

It needs the extra ``django`` of the package. The back end is ``horsies.contrib.django.backend.HorsiesBackend``.
With ``"horsies.contrib.django"`` in ``INSTALLED_APPS``, ``manage.py horsies`` runs the commands of horsies.
"""

from horsies.contrib.django.connections import close_connections, database_url

__all__ = ["close_connections", "database_url"]
