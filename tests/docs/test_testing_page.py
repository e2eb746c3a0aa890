"""The project of docs/testing.md works, and its failing assertions show the messages that the page shows."""

import re
import subprocess
import sys
import textwrap
from pathlib import Path

from tests.docs.test_documents import ROOT, blocks
from tests.support.workers import clean_environment

PAGE = ROOT / "docs" / "testing.md"
FILE = re.compile(r"^```\w+ title=\"(?P<name>[^\"]+)\"\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
SHOWN = re.compile(r"^```python failing\n(?P<code>.*?)^```\n\n```text\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
PYTEST = ("pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio", "--strict-markers")
FORGOTTEN = """
from shop import place_order

def test_forgotten():
    place_order(7, customer="ann@example.org")
"""
FAILING = """
def test_failing_{number}(horsies):
    queue = horsies(app)
    try:
{code}
    except AssertionError as error:
        assert str(error) == {message!r}
    else:
        raise TypeError("the assertion holds")
"""


def write_project(folder: Path) -> None:
    """Write the files of the page, and tests of the messages."""
    for found in FILE.finditer(PAGE.read_text()):
        (folder / found["name"]).write_text(found["text"])
    failing = [
        FAILING.format(number=number, code=textwrap.indent(found["code"], " " * 8), message=found["text"].rstrip("\n"))
        for number, found in enumerate(SHOWN.finditer(PAGE.read_text()))
    ]
    (folder / "test_messages.py").write_text("from shop import *\n" + "".join(failing))


def run(folder: Path, *command: str, code: int = 0, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env=clean_environment(PYTHONDONTWRITEBYTECODE="1", **env),
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_project_of_the_page_works(tmp_path: Path, database_url: str) -> None:
    write_project(tmp_path)
    assert len(blocks(PAGE, "python failing")) == 3
    assert "12 passed" in run(tmp_path, *PYTEST, "-W", "error", HORSIES_DEV_DATABASE_URL=database_url)
    assert "Ran 1 test" in run(tmp_path, "unittest", "test_with_unittest")


def test_a_forgotten_queue_is_reported_as_shown(tmp_path: Path) -> None:
    write_project(tmp_path)
    (tmp_path / "test_forgotten.py").write_text(FORGOTTEN)
    [shown] = blocks(PAGE, "text refused")
    expected = " ".join(shown.rstrip(" …\n").replace("/home/ann/shop", str(tmp_path)).split())
    output = run(tmp_path, *PYTEST, "-o", "horsies_guard=on", "test_forgotten.py", code=1)
    assert expected in " ".join(output.replace("\nE ", "\n").split())
