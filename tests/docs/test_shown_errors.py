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
FILTER = re.compile(r"^  (?P<filter>\S[^\n]*)\n +\^+$", re.MULTILINE)
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
    arguments = arguments_for(shown, tmp_path)
    assert arguments is not None, page
    command = [str(Path(sys.executable).with_name("horsies")), *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 1
    assert done.stderr == shown


def arguments_for(shown: str, folder: Path) -> list[str] | None:
    """Write the module that an error is about, and return the arguments of the command that finds it."""
    if (place := PLACE.search(shown)) is not None:
        (folder / place["file"]).write_text(program(int(place["line"]), place["source"]))
        return ["worker", f"{Path(place['file']).stem}:app"]
    if (mistake := FILTER.search(shown)) is not None:
        (folder / "shop.py").write_text("\n".join(START))
        return ["tasks", "list", "shop:app", mistake["filter"]]
    return None
