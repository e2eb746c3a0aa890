"""`make demo-web`: fills queues with tasks of all kinds, and serves the web interface, until Ctrl-C.

It starts an embedded PostgreSQL, two workers with different versions of the shop, a scheduler and ``horsies web``, and
sends tasks all the time.
"""

import asyncio
import os
import random
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from horsies import TaskError, TaskResult
from horsies.embedded import server as embedded

EXAMPLES = Path(__file__).parent
HORSIES = Path(sys.executable).parent / "horsies"
PORT = os.environ.get("PORT", "8765")
TENANTS = ("acme", "globex", "initech", "umbrella")


@contextmanager
def running(*arguments: str, log: Path, ready: str, version: str = "2026.11") -> Generator[None]:
    """Run a horsies command within the block. Its log goes to a file, which says when it is ready."""
    print("$ horsies", *arguments)
    environment = {**os.environ, "SHOP_VERSION": version}
    with log.open("wb") as stream:
        process = subprocess.Popen([str(HORSIES), *arguments], cwd=EXAMPLES / "web", stderr=stream, env=environment)
    try:
        while ready not in log.read_text(encoding="utf-8"):
            if process.poll() is not None:
                sys.exit(f"the command ended:\n{log.read_text(encoding='utf-8')}")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait()


def send_first(shop: Any) -> None:
    """Send tasks that stay: late ones, one that no worker knows, some for a paused key, and large workflows."""

    @shop.app.task("archive_orders", queue_name="invoices")
    def archive_orders(year: int) -> TaskResult[int, TaskError]:  # the workers do not have this task
        return TaskResult(ok=year)

    archive_orders.send(2019).unwrap()
    for number in range(12):
        shop.send_email.schedule(3600 + 60 * number, f"later-{number}@example.com").unwrap()
    shop.newsletter(400).start().unwrap()
    shop.newsletter(20).start().unwrap().cancel().unwrap()
    broker = shop.app.get_broker(who="demo")
    broker.pause_key("shops", "umbrella", reason="they asked for it").unwrap()
    while not asyncio.run(pause_sale(shop)):
        time.sleep(0.1)


async def pause_sale(shop: Any) -> bool:
    """Pause a schedule; return whether a scheduler has registered it."""
    broker = shop.app.get_broker(who="demo")
    paused = (await broker.pause_schedule("summer-sale")).unwrap()
    await shop.app.close_async()
    return paused is not None


def send_some(shop: Any, turn: int) -> None:
    """Send the tasks of a turn: more of them now and then."""
    for number in range(random.randint(1, 8) if turn % 40 else 120):
        shop.send_email.send(f"customer-{turn}-{number}@example.com").unwrap()
    if turn % 4 == 0:
        shop.resize_image.send(turn, random.randint(2, 30)).unwrap()
    if turn % 2 == 0:
        shop.write_invoice.send(turn, random.uniform(1, 500)).unwrap()
    if turn % 3 == 0:
        shop.sync_stock.send(turn).unwrap()
    shop.fetch_orders.send(random.choice(TENANTS), turn).unwrap()
    if turn % 10 == 1:
        shop.checkout(turn // 10, random.randint(1_000, 110_000)).start().unwrap()
    if turn % 60 == 5:
        shop.Launch.build(shop.app).start().unwrap()
    if turn % 30 == 7:
        shop.send_email.schedule(30, f"soon-{turn}@example.com").unwrap()
    if turn % 25 == 3:
        shop.resize_image.send(turn, 100).unwrap().cancel().unwrap()


def main() -> None:
    """Run until Ctrl-C."""
    url = embedded.acquire(EXAMPLES.parent / ".horsies" / "web")
    os.environ["HORSIES_DATABASE_URL"] = url
    sys.path.insert(0, str(EXAMPLES / "web"))
    shop: Any = __import__("shop")
    logs = EXAMPLES.parent / ".horsies"
    try:
        with ExitStack() as stack:
            for version in ("2026.10", "2026.11"):
                worker = running(
                    *("worker", "shop:app", "--processes=4"),
                    log=logs / f"{version}.log",
                    ready="worker.ready",
                    version=version,
                )
                stack.enter_context(worker)
            scheduler = running("scheduler", "shop:app", log=logs / "scheduler.log", ready="scheduler.starting")
            stack.enter_context(scheduler)
            send_first(shop)
            options = (f"--port={PORT}", "--allow-actions")
            stack.enter_context(running("web", "shop:app", *options, log=logs / "web.log", ready="web.listening"))
            print(f"\nOpen http://127.0.0.1:{PORT}/ and press Ctrl-C to stop. Logs are in {logs}", flush=True)
            turn = 0
            while True:
                turn += 1
                send_some(shop, turn)
                time.sleep(0.5)
    except KeyboardInterrupt:
        print("\nstopping")
    finally:
        shop.app.close()
        embedded.release()


if __name__ == "__main__":
    main()
