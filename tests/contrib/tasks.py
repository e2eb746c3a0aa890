"""Tasks of the project, defined with Django's own decorator."""

from typing import Annotated, Any

from asgiref.sync import sync_to_async
from django.db import connection
from django.tasks import TaskContext, task
from django.tasks.backends.dummy import DummyBackend

from horsies import Secret


class OutOfStockError(Exception):
    """Raised by a task."""


@task
def add(first: int, second: int = 0) -> int:
    return first + second


@task
def charge(
    card: Secret[str], cents: int = 1, *, options: Annotated[dict[str, Secret[str]] | None, "free"] = None
) -> Any:
    return {"charged": card, "cents": cents, "options": options}


@task
async def refund(card: "Secret[str]") -> str:
    raise OutOfStockError(f"no card {card}")


@task(takes_context=True)
def issue_token(context: "TaskContext[Any, Any]", user: str) -> Secret[str]:
    return f"token of {user} {context.attempt}"


@task
async def add_async(first: int, second: int) -> int:
    return await sync_to_async(lambda: first + second)()


@task(priority=20, queue_name="mail")
def echo(*args: Any, **kwargs: Any) -> Any:
    return [args, kwargs]


@task
def order(item: str) -> None:
    raise OutOfStockError(item)


@task
async def order_async(item: str) -> None:
    raise OutOfStockError(item)


@task
def return_a_set() -> Any:
    return {1, 2}


@task(takes_context=True)
def describe(context: "TaskContext[Any, Any]", prefix: str) -> dict[str, Any]:
    result = context.task_result
    return {
        "text": f"{prefix}{context.attempt}",
        "id": result.id,
        "status": result.status,
        "task": result.task.module_path,
        "workers": result.worker_ids,
    }


@task
def query(number: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute("select %s + 1", [number])
        return cursor.fetchone()[0]


@task(backend="dummy")
def elsewhere() -> None:
    assert isinstance(elsewhere.get_backend(), DummyBackend)
