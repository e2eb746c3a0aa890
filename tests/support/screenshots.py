"""`make screenshots`: takes the pictures of the web interface for the documentation, in a real Chromium.

    python -m tests.support.screenshots [--minutes M] [--folder DIR]

It runs `make demo-web` for a few minutes, so that the charts have something to show, and then opens each page.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.browser import Tab, running_browser

ROOT = Path(__file__).parents[2]
PAGES = {
    "overview": "/",
    "queues": "/queues?queue=shops",
    "tasks": "/tasks",
    "task": "/tasks/{task}",
    "errors": "/errors",
    "runs": "/runs",
    "run": "/runs/{run}",
    "definitions": "/definitions",
    "schedules": "/schedules",
    "workers": "/workers",
    "system": "/system",
    "send": "/send?task=charge_card",
}
"""The pages by the names of their pictures."""
DARK = ("overview", "run")
"""Pages of which there is a second picture, in dark colours."""
WIDTH, HEIGHT, MOST_HEIGHT = 1400, 900, 1300
STARTED_WITHIN_S = 60


def get(url: str) -> Any:
    """Return the JSON document of a page."""
    with urllib.request.urlopen(url) as answer:  # noqa: S310 - our own server
        return json.load(answer)


@contextmanager
def demo() -> Generator[str]:
    """Run the demonstration; yield the address of its web interface."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    program = [sys.executable, str(ROOT / "examples" / "demo_web.py")]
    process = subprocess.Popen(program, env={**os.environ, "PORT": str(port)}, stdout=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + STARTED_WITHIN_S
        while True:
            try:
                get(f"{url}/overview.json")
                break
            except (urllib.error.URLError, ConnectionError):
                if process.poll() is not None or time.monotonic() > until:
                    sys.exit("the demonstration did not start; see .horsies/web.log")
                time.sleep(0.2)
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def examples(url: str) -> Mapping[str, str]:
    """Return the ids of a task that has failed after retries, and of a workflow run with many kinds of nodes."""
    failed = get(f"{url}/tasks.json?filter=status:failed")["data"]["tasks"]
    runs = get(f"{url}/runs.json?workflow=launch")["data"]["runs"]
    return {"task": failed[0]["task_id"], "run": runs[0]["run"]["run_id"]}


def photograph(tab: Tab, url: str, file: Path) -> None:
    """Save a picture of a page, as high as the page is, up to a limit."""
    tab.size(WIDTH, HEIGHT)
    tab.open(url)
    height = int(tab.run("document.documentElement.scrollHeight"))
    tab.size(WIDTH, min(height, MOST_HEIGHT))
    tab.picture(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--folder", type=Path, default=ROOT / "docs" / "images")
    asked = parser.parse_args()
    with demo() as url, running_browser() as browser, browser.tab() as tab:
        time.sleep(60 * asked.minutes)
        ids = examples(url)
        for name, path in PAGES.items():
            for scheme in ("light", "dark") if name in DARK else ("light",):
                tab.scheme(scheme)
                suffix = "-dark" if scheme == "dark" else ""
                photograph(tab, url + path.format(**ids), asked.folder / f"web-{name}{suffix}.png")
                sys.stdout.write(f"web-{name}{suffix}.png\n")


if __name__ == "__main__":
    main()
