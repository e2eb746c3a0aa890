"""The same as `replays` for bulk sends: the connection is cut, or the producer killed, around each of their batches."""

import asyncio
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, override

from horsies import BulkSendPayload, Err, TaskSendError, Unique
from horsies.producer import batches
from horsies.producer.bulk import ids_of
from tests.producer.replays import ROOT, Replays, config
from tests.producer.shop import Shop
from tests.support.proxy import Proxy
from tests.support.sessions import column

COUNT = 5
"""The number of tasks in one bulk send."""

BATCH_SIZES = (100, 2, 1)
"""The most tasks in a batch, so that a send has one, three or five of them."""

KINDS = ("plain", "keys", "unique")
"""Which calls are sent; those with keys and of unique tasks need another server function."""

_MOST_SENT = 3_000
_MOST_ANSWERED = 400
_LONGEST_SEND_S = 0.02
_FOUND = """
    select id from horsies.tasks where id = any(%s::uuid[]) union all
    select id from horsies.history where id = any(%s::uuid[])
"""


def calls(shop: Shop, kind: str, name: str) -> Iterator[Any]:
    """Yield the calls of one bulk send: tasks of two kinds with different options, none of which was sent before."""
    for number in range(COUNT):
        task = shop.plain if number % 2 else shop.order
        call: Any = task.args(f"{name}-{number}")
        match kind:
            case "keys":
                yield call.with_options(idempotency_key=f"{name}-{number}")
            case "unique":
                yield call.with_options(unique=Unique(until="started" if number % 3 else "ended"))
            case _:
                yield call.with_options(priority=50) if number == 3 else call


class BulkReplays(Replays):
    """A run with bulk sends."""

    @override
    async def cut(self, shop: Shop, proxy: Proxy, cuts: int) -> None:
        turn = 0
        try:
            while self.seen["cut"] < cuts:
                turn += 1
                batches.MOST_TASKS = self.dice.choice(BATCH_SIZES)
                kind = self.dice.choice(KINDS)
                sent = await shop.app.send_many_async(self._cut_within(proxy, calls(shop, kind, str(turn))))
                if isinstance(sent, Err):
                    self.seen["cut"] += 1
                    self.seen[f"cut, {kind}"] += 1
                    await self.replay(shop, sent.error)
                else:
                    self.seen["not cut"] += 1
                    self.accepted.update(each.task_id for each in sent.value)
        finally:
            batches.MOST_TASKS = 10_000

    def _cut_within(self, proxy: Proxy, items: Iterator[Any]) -> Iterator[Any]:
        """Yield items, and arrange a cut before a random one of them: it happens in the batches that are sent then."""
        place = self.dice.randrange(COUNT + 1)
        for number, item in enumerate(items):
            if number == place:
                self._arrange_cut(proxy)
            yield item
        if place == COUNT:
            self._arrange_cut(proxy)

    def _arrange_cut(self, proxy: Proxy) -> None:
        if self.dice.random() < 0.5:
            proxy.cut_after(self.dice.randrange(_MOST_SENT), "to server")
        else:
            proxy.cut_after(self.dice.randrange(_MOST_ANSWERED), "to client")

    @override
    async def replay(self, shop: Shop, error: TaskSendError) -> None:
        """Replay a send until it is accepted. If its tasks exist, a worker sometimes ends all of them or the first ones."""
        assert isinstance(error.payload, BulkSendPayload)
        assert error.retryable
        ids = [str(each) for batch in error.payload.batches for each in ids_of(batch)]
        found = column(self.db, _FOUND, ids, ids)
        assert len(found) in {0, COUNT}, "all or none"
        self.seen["committed before the replay" if found else "not committed"] += 1
        if found:
            self._end_some(ids)
        again: Any = await shop.app.retry_send_many_async(error)
        while isinstance(again, Err):
            self.seen["replay cut"] += 1
            again = await shop.app.retry_send_many_async(again.error)
        assert [each.task_id for each in again.value] == ids
        self.accepted.update(ids)

    def _end_some(self, ids: list[str]) -> None:
        share = self.dice.choice(("all", "first ones", "none"))
        if share == "all":
            self.end_all()
            self.seen["ended before the replay"] += 1
        elif share == "first ones":
            self.end_all(but=set(ids[self.dice.randrange(1, COUNT) :]))
            self.seen["first ones ended before the replay"] += 1

    @override
    def kill(self, url: str, kills: int) -> None:
        shop = Shop(config(url))
        with tempfile.TemporaryDirectory() as name:
            for number in range(kills):
                outbox = Path(name, str(number))
                size, kind = str(self.dice.choice(BATCH_SIZES)), self.dice.choice(KINDS)
                command = [sys.executable, "-m", "tests.producer.killed_many", url, str(outbox), size, kind]
                with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as producer:
                    assert producer.stdout is not None
                    assert producer.stdout.readline() == b"sending\n"
                    with suppress(subprocess.TimeoutExpired):
                        producer.wait(self.dice.random() * _LONGEST_SEND_S)
                    producer.kill()
                self.seen["killed"] += 1
                for error in pickle.loads(outbox.read_bytes()):  # noqa: S301 - its own child wrote it
                    asyncio.run(self.replay(shop, error))
        shop.app.close()
