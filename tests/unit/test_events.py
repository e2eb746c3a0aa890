"""The format of log lines."""

import io
import json
import logging
import sys

import pytest

from horsies import events
from horsies.events import LogFormat

HOSTILE = "\x1b]0;owned\x07\x1b[2J\u202etxt.exe\u009b31m"


def line_of(monkeypatch: pytest.MonkeyPatch, log_format: LogFormat, **fields: object) -> str:
    root, written = logging.getLogger(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()  # the handlers of pytest, which the configuration would close
    try:
        events.configure_logging("INFO", log_format)
        events.event("hook.failed", **fields)
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    return written.getvalue()


@pytest.mark.parametrize("log_format", ["text", "short", "json"])
@pytest.mark.parametrize("text", [HOSTILE, f"{HOSTILE} with spaces"])
def test_a_log_contains_no_control_characters(
    monkeypatch: pytest.MonkeyPatch, log_format: LogFormat, text: str
) -> None:
    line = line_of(monkeypatch, log_format, message=text)
    assert not {"\x1b", "\x07", "\u202e", "\u009b"} & set(line)
    shown = json.loads(line)["message"] if log_format == "json" else json.loads(line.partition("message=")[2])
    assert shown == text


def test_plain_values_are_not_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert line_of(monkeypatch, "text", task="größe", ms=3).endswith("INFO hook.failed task=größe ms=3\n")
