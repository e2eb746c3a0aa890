"""The tutorial works when a reader follows it from top to bottom, with a real `horsies dev` in the first terminal."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.terminal import Terminal
from tests.support.waiting import wait_until
from tests.support.workers import HORSIES, clean_environment

PAGE = Path(__file__).parents[2] / "docs" / "tutorial.md"
BLOCK = re.compile(r"^```(?P<kind>\w+)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
IN_PLACE_OF = ", in place of: "
SERVER = "horsies dev shop:app"


class Block(NamedTuple):
    kind: str
    title: str | None
    text: str


def page_blocks() -> list[Block]:
    return [Block(*found.group("kind", "title", "text")) for found in BLOCK.finditer(PAGE.read_text())]


class Reader:
    """Follows the page in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server: Terminal | None = None
        self.last_output = ""
        self.commands = 0

    def follow(self, block: Block) -> None:
        match block.kind:
            case "python":
                self.edit(block.title or "", block.text)
            case "sh":
                for line in block.text.splitlines():
                    self.run(line)
            case _:
                assert self.last_output == block.text

    def edit(self, title: str, text: str) -> None:
        """Append to a file, or replace the line that the title names; the running server restarts."""
        name, _, replaced = title.partition(IN_PLACE_OF)
        file = self.folder / name
        before = file.read_text() if file.exists() else ""
        assert not replaced or before.count(f"{replaced}\n") == 1
        starts = self.starts()
        file.write_text(before.replace(f"{replaced}\n", text) if replaced else before + text)
        if self.server is not None:
            wait_until(lambda: self.starts() > starts, 60, self.server.seen)

    def starts(self) -> int:
        return 0 if self.server is None else self.server.seen().count("worker.ready")

    def run(self, line: str) -> None:
        self.commands += 1
        if line == SERVER:
            self.server = Terminal(shlex.split(line)[1:], self.folder)
            self.server.wait_for(r"worker\.ready", 60)
            return
        program, *arguments = shlex.split(line)
        ended = subprocess.run(
            [HORSIES.with_name(program), *arguments],
            cwd=self.folder,
            env=clean_environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert ended.returncode == 0, f"{line}\n{ended.stdout}{ended.stderr}"
        self.last_output = ended.stdout

    def stop(self) -> None:
        assert self.server is not None
        self.server.type("\x03")
        assert self.server.wait() == 0
        self.server.assert_gone()


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    reader = Reader(tmp_path)
    yield reader
    if reader.server is not None:
        reader.server.close()


@pytest.mark.timeout(240)
def test_the_tutorial_works_from_top_to_bottom(reader: Reader) -> None:
    blocks = page_blocks()
    for block in blocks:
        reader.follow(block)
    reader.stop()
    assert reader.commands >= 10
    assert sum(block.kind == "text" for block in blocks) >= 4


def test_the_tutorial_has_no_other_blocks() -> None:
    assert {block.kind for block in page_blocks()} == {"python", "sh", "text"}
    assert PAGE.read_text().count("```") == 2 * len(page_blocks())
