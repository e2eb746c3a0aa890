"""Tests for pytest-asyncio: each has an event loop of its own, or shares that of the module."""

import asyncio

import pytest

from shop import add, add_async, app


@pytest.mark.asyncio
async def test_on_the_loop_of_the_test(horsies):
    queue = horsies(app)
    handles = [(await task.send_async(1, 2)).unwrap() for task in (add, add_async)]
    assert len(await queue.drain_async()) == 2
    assert [(await handle.get_async()).unwrap() for handle in handles] == [3, 3]
    queue.assert_sent(add, 1, 2)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("number", range(3))
async def test_on_a_shared_loop(horsies, number):
    queue = horsies(app)
    sent = await asyncio.gather(*(add_async.send_async(number, each) for each in range(5)))
    await queue.drain_async()
    assert [(await each.unwrap().get_async()).unwrap() for each in sent] == [number + each for each in range(5)]
