"""The command line on the database of a test, as an operator uses it."""

import json
import subprocess
from pathlib import Path

from tests.support.commands import horsies
from tests.support.environment import URL_VARIABLE
from tests.support.sessions import Session


class Shell:
    """A shell in a folder, whose environment names the test's database."""

    def __init__(self, folder: Path, url: str, session: Session) -> None:
        self.folder = folder
        self.url = url
        self.session = session

    def run(self, *args: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        ended = horsies(self.folder, *map(str, args), **{URL_VARIABLE: self.url})
        assert ended.returncode == code, ended.stderr + ended.stdout
        assert "Traceback" not in ended.stderr
        return ended

    def json(self, *args: object, code: int = 0) -> list[dict[str, object]]:
        return json.loads(self.run(*args, "--json", code=code).stdout)
