"""The ASGI application of the Django project with users: the web interface at /queue/, and Django beside it."""

from django.core.asgi import get_asgi_application
from starlette.applications import Starlette
from starlette.routing import Mount

django_application = get_asgi_application()

from horsies.contrib.django.web import DjangoAuth  # noqa: E402 - after Django was set up
from horsies.web import horsies_web  # noqa: E402
from tests.contrib.queue import queue  # noqa: E402

application = Starlette(
    routes=[Mount("/queue", horsies_web(queue, auth=DjangoAuth())), Mount("/", django_application)],
)
