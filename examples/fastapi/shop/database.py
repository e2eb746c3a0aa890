"""The business tables, and the session of a request."""

from collections.abc import AsyncIterator
from datetime import date
from decimal import Decimal
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from shop.tasks import queue


class Base(DeclarativeBase):
    """The base class of the tables."""


class Order(Base):
    """An order. The id of its task is stored with it, so that no client can ask for the tasks of others."""

    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str]
    total: Mapped[Decimal]
    ordered_on: Mapped[date]
    invoice_task_id: Mapped[str | None]


class Member(Base):
    """A member of the staff, who may open the pages of the queue."""

    __tablename__ = "staff"

    name: Mapped[str] = mapped_column(primary_key=True)
    role: Mapped[str]
    password_hash: Mapped[str]


async def open_engine() -> AsyncEngine:
    """Connect to the database of the queue, and create the tables. In production, a migration creates them."""
    engine = create_async_engine(queue.get_broker().database_url("psycopg"))
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    return engine


async def open_session(request: Request) -> AsyncIterator[AsyncSession]:
    """Open the session of a request. The endpoint commits, because only then can it report a failure."""
    async with AsyncSession(request.app.state.engine, expire_on_commit=False) as session:
        yield session


type Session = Annotated[AsyncSession, Depends(open_session)]
