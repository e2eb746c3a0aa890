"""A producer that is killed during bulk sends.

replays_many.py runs it with a URL, a file for what can be replayed, the size of batches, and the kind of calls.
"""

import asyncio
import pickle
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from horsies import BulkSendPayload, PostgresConfig, TaskSendError, TaskSendErrorCode
from horsies.producer import batches
from horsies.producer.batches import BatchBuilder
from horsies.producer.bulk import batches_sha
from horsies.producer.send import TaskSendOptions
from tests.producer.replays_many import COUNT, calls
from tests.producer.shop import Shop

TOGETHER = 3

url, outbox, size, kind = sys.argv[1:]
shop = Shop(PostgresConfig(database_url=url))
batches.MOST_TASKS = int(size)
next_ids: ContextVar[Iterator[UUID]] = ContextVar("next_ids")


def payload_of(items: list[Any]) -> BulkSendPayload:
    """Return what the error of a bulk send would contain."""
    builder = BatchBuilder(shop.app.producer, None, TaskSendOptions())
    built = [builder.take_full() for item in items if not builder.accept(item)] + [builder.build()]
    return BulkSendPayload(tuple(built), batches_sha(built))


async def send(items: list[Any], ids: list[UUID]) -> None:
    """Send tasks under ids that were chosen before."""
    next_ids.set(iter(ids))
    await shop.app.send_many_async(items)


async def main() -> None:
    (await shop.app.get_broker().ping()).unwrap()
    ids = [[uuid7() for _ in range(COUNT)] for _ in range(TOGETHER)]
    sends = [list(calls(shop, kind, str(each[0]))) for each in ids]
    batches.uuid7 = lambda: next(next_ids.get())
    errors: list[TaskSendError] = []
    for items, chosen in zip(sends, ids, strict=True):
        next_ids.set(iter(chosen))
        errors.append(TaskSendError(TaskSendErrorCode.ENQUEUE_FAILED, "killed", True, None, payload_of(items)))
    await asyncio.to_thread(Path(outbox).write_bytes, pickle.dumps(errors))
    await asyncio.to_thread(print, "sending", flush=True)
    async with asyncio.TaskGroup() as group:
        for items, chosen in zip(sends, ids, strict=True):
            group.create_task(send(items, chosen))
    await asyncio.Event().wait()


asyncio.run(main())
