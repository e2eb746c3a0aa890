"""A producer that is killed while it sends. replays.py runs it with a URL and a file for what can be replayed."""

import asyncio
import pickle
import sys
from pathlib import Path

from horsies import PostgresConfig, TaskSendError, TaskSendErrorCode
from horsies.producer.send import SendRequest, TaskSendOptions, _enqueue, prepare
from tests.producer.shop import Shop

TOGETHER = 3

shop = Shop(PostgresConfig(database_url=sys.argv[1]))


async def main() -> None:
    (await shop.app.get_broker().ping()).unwrap()
    request = SendRequest(shop.add.definition, "send", TaskSendOptions(), (1,), {})
    payloads = [prepare(shop.app.producer, request).unwrap() for _ in range(TOGETHER)]
    errors = [
        TaskSendError(TaskSendErrorCode.ENQUEUE_FAILED, "killed", True, str(each.request.task_id), each)
        for each in payloads
    ]
    await asyncio.to_thread(Path(sys.argv[2]).write_bytes, pickle.dumps(errors))
    sys.stdout.write("sending\n")
    sys.stdout.flush()
    sends = [shop.app._drivers.run_async(_enqueue(each, shop.add.handle, replay=False)) for each in payloads]
    await asyncio.gather(*sends)
    await asyncio.Event().wait()


asyncio.run(main())
