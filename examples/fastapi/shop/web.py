"""The web service: uvicorn shop.web:app."""

import os
import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware.sessions import SessionMiddleware

from horsies.web import horsies_web
from shop import staff
from shop.database import open_engine
from shop.orders import router
from shop.tasks import queue

PUBLIC_URL = os.environ.get("SHOP_PUBLIC_URL")  # such as https://shop.example.com; unset: on this machine
SECRET_KEY = os.environ.get("SHOP_SECRET_KEY") or secrets.token_urlsafe()  # signs cookies; unset: until the next start


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    """Open the connections when the service starts, and close them when it stops."""
    app.state.engine = await open_engine()
    try:
        yield
    finally:
        await queue.close_async()
        await app.state.engine.dispose()


app = FastAPI(title="Shop", lifespan=lifespan)
app.add_middleware(SessionMiddleware, secret_key=SECRET_KEY, https_only=PUBLIC_URL is not None, max_age=8 * 3600)
app.include_router(router)
app.include_router(staff.router)
app.mount("/queue", horsies_web(queue, auth=staff.staff_only, public_url=PUBLIC_URL))
