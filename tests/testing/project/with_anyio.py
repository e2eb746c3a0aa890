"""Tests for the plugin of anyio, on asyncio."""

import anyio
import pytest

from shop import add, add_async, app


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.mark.anyio
async def test_tasks_of_a_group_send(horsies):
    queue = horsies(app)
    async with anyio.create_task_group() as group:
        group.start_soon(add_async.send_async, 1, 2)
        group.start_soon(add.send_async, 3, 4)
    assert len(await queue.drain_async()) == 2
    assert sorted(each.result.unwrap() for each in await anyio.to_thread.run_sync(queue.outcomes)) == [3, 7]
