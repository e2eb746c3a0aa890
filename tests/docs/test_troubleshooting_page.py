"""The codes, events and settings that docs/troubleshooting.md and other pages about operations name exist."""

import re
from pathlib import Path

import pytest

from horsies import BuiltInTaskCode, ErrorCode, OperationalErrorCode, RetrievalCode

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
SOURCE = "".join(path.read_text() for path in ROOT.glob("horsies/**/*.py"))
CODES: tuple[type[BuiltInTaskCode], ...] = (RetrievalCode, OperationalErrorCode)


def test_every_code_of_a_program_exists() -> None:
    codes = re.findall(r"HRS-\d+", PAGE)
    assert len(codes) >= 5
    assert set(codes) <= {code.value for code in ErrorCode}


def test_every_code_of_a_task_exists() -> None:
    codes = set(re.findall(r"`([A-Z]+_[A-Z]+)`", PAGE)) - {"DATABASE_URL"}
    assert codes >= {"WAIT_TIMEOUT", "WORKER_CRASHED"}
    assert codes <= {code.value for kind in CODES for code in kind}


@pytest.mark.parametrize("name", ["troubleshooting", "production", "schedules", "upgrading"])
def test_every_log_event_exists(name: str) -> None:
    page = (ROOT / "docs" / f"{name}.md").read_text()
    nouns = "child|connection|embedded|heartbeat|maintenance|schedule|scheduler|task|tasks|worker"
    events = re.findall(rf"`((?:{nouns})\.[a-z_]+)`", page)
    assert events
    assert [event for event in events if f'"{event}"' not in SOURCE] == []


def test_every_option_exists() -> None:
    listed = (ROOT / "docs" / "cli.md").read_text()
    options = re.findall(r"`(--[a-z-]+)", PAGE)
    assert len(options) >= 3
    assert [option for option in options if f"`{option}`" not in listed] == []
