"""The ASGI application, with the pages of the queue, and with Django beside them: uvicorn config.asgi:application."""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib import import_module

from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application
from starlette.applications import Starlette
from starlette.responses import RedirectResponse
from starlette.routing import Mount, Route

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django_application = get_asgi_application()  # sets up Django, which the imports below need

from config.queue import queue  # noqa: E402
from horsies.contrib.django.web import DjangoAuth  # noqa: E402
from horsies.web import horsies_web  # noqa: E402

import_module("orders.tasks")  # so that the pages know the tasks, and can send them
PUBLIC_URL = os.environ.get("SHOP_PUBLIC_URL")  # such as https://shop.example.com; unset: on this machine


@asynccontextmanager
async def lifespan(_application: Starlette) -> AsyncGenerator[None]:
    """Close the connections of the queue when the server stops."""
    yield
    await queue.close_async()


application = Starlette(
    routes=[
        Route("/queue", RedirectResponse("queue/")),
        Mount("/queue", horsies_web(queue, auth=DjangoAuth(), public_url=PUBLIC_URL)),
        # In production, the web server serves the static files of the admin.
        Mount("/", ASGIStaticFilesHandler(django_application)),  # pyright: ignore[reportArgumentType]
    ],
    lifespan=lifespan,
)
