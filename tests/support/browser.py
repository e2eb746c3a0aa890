"""A real Chromium without a window, driven over a pipe with the protocol of its developer tools.

The installed program is used, if there is one. Otherwise Debian's package is installed with apt-get, which needs root.
Where that is not possible, the tests of this module are skipped.
"""

import base64
import fcntl
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from queue import Empty, Queue
from tempfile import TemporaryDirectory
from typing import Any, Literal

import pytest

from tests.support.waiting import wait_until

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_ANSWER_WITHIN_S = 30
_FREE_DESCRIPTORS = 20
_FLAGS = (
    "--headless=new",
    "--no-sandbox",  # CI runs as root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--no-first-run",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--remote-debugging-pipe",
)
_SHIFT = 8
_KEYS = {
    "Tab": (9, ""),
    "Enter": (13, "\r"),
    "Escape": (27, ""),
    "Space": (32, " "),
    "ArrowDown": (40, ""),
}
"""The codes of keys without a character of their own, and the text that they enter."""


class Tab:
    """A tab of the browser.

    Attributes:
        problems: Messages of the console and errors of scripts and of the security policy, as they came.
    """

    def __init__(self, browser: "Browser", session: str) -> None:
        self._browser = browser
        self._session = session
        self._loaded = set[str]()
        self.problems: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Page.setLifecycleEventsEnabled", enabled=True)

    def call(self, method: str, **params: object) -> Any:
        return self._browser.call(method, self._session, **params)

    def open(self, url: str) -> None:
        """Open a page, and wait until it is loaded."""
        answer = self.call("Page.navigate", url=url)
        assert "errorText" not in answer, f"{url}: {answer['errorText']}"
        wait_until(lambda: answer["loaderId"] in self._loaded, 20, url)

    def run(self, script: str) -> Any:
        """Return the value of an expression in the page."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def text(self) -> str:
        """Return the text that can be seen."""
        return self.run("document.body.innerText")

    def size(self, width: int, height: int = 900, scale: float = 1) -> None:
        """Set the size in CSS pixels, and how many pixels of the screen one has: 2 at a zoom of 200 %."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **metrics)

    def press(self, *keys: str) -> None:
        """Press keys one after the other: characters, or names such as ``Tab``, ``Shift+Tab`` and ``Enter``."""
        for key in keys:
            *shift, name = key.split("+") if len(key) > 1 else [key]
            code, text = _KEYS.get(name, (ord(name[0].upper()), name))
            pressed = {
                "key": " " if name == "Space" else name,
                "windowsVirtualKeyCode": code,
                "modifiers": _SHIFT if shift else 0,
            }
            down = {"type": "keyDown", "text": text} if text else {"type": "rawKeyDown"}
            self.call("Input.dispatchKeyEvent", **down, **pressed)
            self.call("Input.dispatchKeyEvent", type="keyUp", **pressed)

    def press_to_leave(self, key: str) -> None:
        """Press a key that opens a page, and wait until that is loaded."""
        loaded = set(self._loaded)
        self.press(key)
        wait_until(lambda: self._loaded - loaded, 20, f"a page after {key}")

    def scheme(self, scheme: Literal["light", "dark"]) -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def without_script(self) -> None:
        self.call("Emulation.setScriptExecutionDisabled", value=True)

    def picture(self, file: Path) -> None:
        """Save a picture of the whole page."""
        found = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(found["data"]))

    def on_event(self, method: str, params: dict[str, Any]) -> None:
        if method == "Page.lifecycleEvent" and params["name"] == "load":
            self._loaded.add(params["loaderId"])
        elif method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.problems.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Log.entryAdded":
            self.problems.append(f"{params['entry']['source']}: {params['entry']['text']}")
        elif method == "Runtime.consoleAPICalled" and params["type"] in {"error", "warning", "assert"}:
            self.problems.append(str(params["args"]))


class Browser:
    """A running Chromium."""

    def __init__(self, program: str, folder: Path) -> None:
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        # Chromium reads commands from descriptor 3 and answers at 4; ours must not be one of them.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, _FREE_DESCRIPTORS) for end in (to_browser, from_browser)]
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$0" "$@" 3<&{ends[0]} 4>&{ends[1]}', program, *_FLAGS, f"--user-data-dir={folder}"],
            pass_fds=ends,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for end in (to_browser, from_browser, *ends):
            os.close(end)
        self._last = 0
        self._answers: dict[int, Queue[dict[str, Any]]] = {}
        self._tabs: dict[str, Tab] = {}
        self._lock = threading.Lock()
        self._reader = threading.Thread(target=self._receive, daemon=True)
        self._reader.start()

    def call(self, method: str, session: str | None = None, **params: object) -> Any:
        with self._lock:
            self._last += 1
            number = self._last
            answers = self._answers[number] = Queue[dict[str, Any]]()
        message = {"id": number, "method": method, "params": params} | ({"sessionId": session} if session else {})
        os.write(self._write, json.dumps(message).encode() + b"\0")
        try:
            answer = answers.get(timeout=_ANSWER_WITHIN_S)
        except Empty:
            pytest.fail(f"Chromium did not answer {method}")
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    @contextmanager
    def tabs(self, number: int) -> Generator[list[Tab]]:
        """Open tabs in a new profile, which share nothing with other profiles."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        try:
            yield [self._open_tab(context) for _ in range(number)]
        finally:
            self.call("Target.disposeBrowserContext", browserContextId=context)

    @contextmanager
    def tab(self) -> Generator[Tab]:
        """Open a tab in a new profile."""
        with self.tabs(1) as [tab]:
            yield tab

    def _open_tab(self, context: str) -> Tab:
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context, newWindow=True)[
            "targetId"
        ]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._tabs[session] = tab = Tab(self, session)
        return tab

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        os.close(self._write)

    def _receive(self) -> None:
        rest = b""
        while chunk := os.read(self._read, 1 << 16):
            *messages, rest = (rest + chunk).split(b"\0")
            for each in messages:
                self._deliver(json.loads(each))
        os.close(self._read)

    def _deliver(self, message: dict[str, Any]) -> None:
        if "id" in message:
            self._answers.pop(message["id"]).put(message)
        elif (tab := self._tabs.get(message.get("sessionId", ""))) is not None:
            tab.on_event(message["method"], message["params"])


@cache
def program() -> str | None:
    """Return the path of Chromium; it is installed if that is possible. None: there is none."""
    for attempt in (_installed, _install):
        found = attempt()
        if found is not None:
            return found
    return None


def _installed() -> str | None:
    return next((found for name in _NAMES if (found := shutil.which(name)) is not None), None)


def _install() -> str | None:
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return None
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "-y", "--no-install-recommends", "chromium"]):
        subprocess.run(["apt-get", "-qq", *command], env=environment, capture_output=True, check=False, timeout=600)
    return _installed()


@contextmanager
def running_browser() -> Generator[Browser]:
    """Run Chromium within the block; skip the tests where it cannot be installed."""
    path = program()
    if path is None:
        pytest.skip("Chromium is not installed and cannot be: it needs root, apt-get and a Debian mirror")
    with TemporaryDirectory(prefix="horsies-chromium-", ignore_cleanup_errors=True) as folder:
        browser = Browser(path, Path(folder))
        try:
            yield browser
        finally:
            browser.close()
