"""Follows the page for new users as printed, in an empty folder."""

import re
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.support.workers import HORSIES, WorkerProcess, clean_environment

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "examples" / "seed"
FIRST = ROOT / "examples" / "first"
COMMAND = "horsies worker instance:app --processes=8 --loglevel=INFO"

_PLACE = "user:password@localhost:5432/mydb"
_SERVER = """
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from endpoint import my_endpoint


async def view(request):
    return JSONResponse(await my_endpoint())


app = Starlette(routes=[Route("/", view)])
"""


class SeedPage:
    """A copy of the page in a folder, for the ``horsies`` and the ``python`` of one environment."""

    def __init__(self, folder: Path, tcp_url: str, programs: Path = HORSIES.parent) -> None:
        """Copy the page, and replace only the host and the credentials by those of a URL."""
        self.folder = folder
        self._programs = programs
        for file in PAGE.glob("*.py"):
            text = file.read_text()
            assert (_PLACE in text) == (file.name == "instance.py")
            (folder / file.name).write_text(text.replace(_PLACE, tcp_url.partition("://")[2]))

    @contextmanager
    def worker(self, module: str = "instance") -> Generator[WorkerProcess]:
        """Run the printed shell command until it is ready. At the end, stop it and require that no process remains."""
        program, *args = COMMAND.replace("instance", module).split()
        worker = WorkerProcess(args, self.folder, {}, self._programs / program)
        try:
            worker.wait_until_ready()
            yield worker
            assert worker.stop() == 0
            worker.assert_gone()
        finally:
            worker.kill_all()

    def run_producer(self) -> str:
        """Run the printed producer, and return its output."""
        return self.python("producer.py")

    def python(self, *args: str) -> str:
        """Run Python in the folder, and return its output."""
        command = [self._programs / "python", *args]
        done = subprocess.run(
            command, cwd=self.folder, env=clean_environment(), capture_output=True, text=True, check=False, timeout=50
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def get_endpoint(self) -> object:
        """Serve the printed endpoint with Starlette and uvicorn, call it over HTTP, and return its reply."""
        (self.folder / "server.py").write_text(_SERVER)
        args = ["-m", "uvicorn", "server:app", "--port", "0"]
        server = WorkerProcess(args, self.folder, {}, self._programs / "python")
        try:
            url = server.wait_for_log(r"running on (http://\S+)")[1]
            answer = httpx.get(url, timeout=30).raise_for_status().json()
            server.stop()
            return answer
        finally:
            server.kill_all()


def readme_blocks() -> dict[str, str]:
    """Return the blocks of code in README.md that name their file."""
    text = (ROOT / "README.md").read_text()
    return dict(re.findall(r"<!-- file: (\S+) -->\n```python\n(.*?)```", text, re.DOTALL))
