"""An app whose tasks have secrets in every place."""

from dataclasses import dataclass
from datetime import time

import psycopg
from pydantic import BaseModel

from horsies import (
    AppConfig,
    CustomQueueConfig,
    DailySchedule,
    Horsies,
    PostgresConfig,
    QueueMode,
    RetryPolicy,
    ScheduleConfig,
    Secret,
    TaskError,
    TaskResult,
    TaskSchedule,
    Unique,
    current_task,
)

MARK = "5ecret-Mark"
"""Each secret contains it, and nothing else does."""


class Card(BaseModel):
    """A card of a customer."""

    number: Secret[str]
    pin: Secret[str] | None = None
    holder: str = "Ada"


@dataclass
class Wallet:
    """Cards and tokens."""

    cards: list[Card]
    tokens: dict[str, Secret[str]]


class DeclinedError(TaskError):
    """A payment that was declined, with the card."""

    card: Secret[str] | None = None


app = Horsies(
    AppConfig(
        broker=PostgresConfig(database_url="postgresql://nobody@127.0.0.1:1/shop"),
        queue_mode=QueueMode.CUSTOM,
        custom_queues=[CustomQueueConfig(name="shop"), CustomQueueConfig(name="slow")],
        results_in_notices=True,
        schedule=ScheduleConfig(
            schedules=[
                TaskSchedule(
                    name="nightly",
                    task_name="pay",
                    pattern=DailySchedule(time(3)),
                    args=(f"scheduled {MARK}",),
                )
            ]
        ),
    )
)


@app.task("pay", queue_name="shop")
def pay(card: Secret[str], cents: int = 1) -> TaskResult[Secret[str], TaskError]:
    """Return the secret."""
    return TaskResult(ok=f"{card} {cents}")


@app.task("pay_async", queue_name="shop")
async def pay_async(wallet: Wallet) -> TaskResult[Wallet, TaskError]:
    """Return a value that contains secrets."""
    return TaskResult(ok=wallet)


@app.task("pay_by_path", queue_name="shop", redact=["order.card.number"])
def pay_by_path(order: dict[str, dict[str, str]]) -> TaskResult[str, TaskError]:
    """Return a secret argument in a result that is not declared as secret."""
    return TaskResult(ok=f"charged {order['card']['number']}")


@app.task("pay_once", queue_name="shop", unique=Unique(by=("card",), on_conflict="replace"))
def pay_once(card: Secret[str], default: Secret[str] = f"default {MARK}") -> TaskResult[None, TaskError]:
    """Do nothing."""
    return TaskResult(ok=None)


@app.task("raises", queue_name="shop", retry_policy=RetryPolicy.fixed([1], auto_retry_for=["UNHANDLED_EXCEPTION"]))
def raises(card: Secret[str]) -> TaskResult[None, TaskError]:
    """Report the secret as progress, and raise it."""
    task = current_task()
    assert task is not None
    task.progress(1, 2, f"at {card}")
    raise RuntimeError(f"cannot charge {card!r}")


@app.task("declines", queue_name="shop")
def declines(card: Secret[str]) -> TaskResult[None, DeclinedError]:
    """Return an error with the secret in its message, its data and its field."""
    data = {"card": card, "nested": [f"<{card}>"], card: 1}
    return TaskResult(err=DeclinedError(error_code="DECLINED", message=f"no {card}", data=data, card=card))


@app.task("mistypes", queue_name="shop")
def mistypes(card: Secret[str]) -> TaskResult[Secret[int], TaskError]:
    """Return a secret of another type."""
    return TaskResult(ok=card)  # type: ignore[arg-type] # refused at run time


@app.task("pay_in_transaction", queue_name="shop", transactional=True)
def pay_in_transaction(connection: psycopg.Connection, card: Secret[str]) -> TaskResult[Secret[str], TaskError]:
    """Return the secret from a transaction."""
    connection.execute("select 1")
    return TaskResult(ok=card)
