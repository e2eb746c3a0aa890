"""The web service: uvicorn shop.web:app."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from shop.database import open_engine
from shop.orders import router
from shop.tasks import queue


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
app.include_router(router)
