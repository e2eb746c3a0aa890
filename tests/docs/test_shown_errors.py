"""Errors that the documents show are those that come out."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
SHOWN = re.compile(r"^```text\n(error\[.*?)^```$", re.MULTILINE | re.DOTALL)
PLACE = re.compile(r" --> (?P<file>\S+):(?P<line>\d+)\n.*?^ *\d+ \| (?P<source>[^\n]*)$", re.MULTILINE | re.DOTALL)
SHOWN_ERRORS = [(page.name, text) for page in PAGES for text in SHOWN.findall(page.read_text())]
START = ["from horsies import AppConfig, Horsies, TaskError, TaskResult", "app = Horsies(AppConfig())"]


def program(line: int, source: str) -> str:
    """A module whose line of that number is the one that is shown: the decorator of a task without a return type."""
    above = [*START, *[""] * (line - len(START) - 1)]
    return "\n".join([*above, source, "def find(article: str):", "    return TaskResult(ok=article)", ""])


def test_there_are_some() -> None:
    assert SHOWN_ERRORS


@pytest.mark.parametrize(("page", "shown"), SHOWN_ERRORS)
def test_it_comes_out_like_that(page: str, shown: str, tmp_path: Path) -> None:
    place = PLACE.search(shown)
    assert place is not None, page
    (tmp_path / place["file"]).write_text(program(int(place["line"]), place["source"]))
    command = [str(Path(sys.executable).with_name("horsies")), "worker", f"{Path(place['file']).stem}:app"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 1
    assert done.stderr == shown
