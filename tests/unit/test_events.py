"""The format of log lines."""

import io
import json
import logging
import sys
from collections.abc import Callable

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


ANY = (
    "".join(map(chr, range(0xA0))) + "\u2028\u2029\u200b\u202e\ud800 2026-11-28T17:25:08.000+00:00 ERROR task.failed\n"
)


class TestOneLine:
    """A log of the format ``text`` or ``json`` has one line for each record, whatever the record contains."""

    @staticmethod
    def lines(monkeypatch: pytest.MonkeyPatch, log_format: LogFormat, emit: Callable[[], None]) -> list[str]:
        root, written = logging.getLogger(), io.StringIO()
        monkeypatch.setattr(sys, "stderr", written)
        handlers, level = root.handlers[:], root.level
        root.handlers.clear()
        try:
            events.configure_logging("INFO", log_format)
            emit()
        finally:
            root.handlers[:] = handlers
            root.setLevel(level)
        return written.getvalue().split("\n")

    @pytest.mark.parametrize("log_format", ["text", "json"])
    def test_an_event(self, monkeypatch: pytest.MonkeyPatch, log_format: LogFormat) -> None:
        shown, end = self.lines(monkeypatch, log_format, lambda: events.event("task.failed", **{"task": ANY, ANY: 1}))
        assert (shown.isprintable(), end) == (True, "")

    @pytest.mark.parametrize("log_format", ["text", "json"])
    def test_a_message_of_user_code(self, monkeypatch: pytest.MonkeyPatch, log_format: LogFormat) -> None:
        shown, end = self.lines(monkeypatch, log_format, lambda: logging.getLogger(ANY).warning("%s", ANY))
        assert (shown.isprintable(), end) == (True, "")

    @pytest.mark.parametrize("log_format", ["text", "json"])
    def test_an_exception_of_user_code(self, monkeypatch: pytest.MonkeyPatch, log_format: LogFormat) -> None:
        def emit() -> None:
            try:
                int(ANY)
            except ValueError:
                logging.getLogger("shop").exception("failed", stack_info=True)

        shown, end = self.lines(monkeypatch, log_format, emit)
        assert (shown.isprintable(), end) == (True, "")
        assert "Traceback (most recent call last)" in shown

    def test_further_lines_for_a_person_are_indented(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def emit() -> None:
            try:
                int(ANY)
            except ValueError:
                logging.getLogger("shop").exception("failed")

        first, *others, end = self.lines(monkeypatch, "short", emit)
        assert first.endswith("ERROR failed logger=shop")
        assert len(others) > 2
        assert all(line.startswith("  ") for line in others)
        assert end == ""
        assert all(line.expandtabs().isprintable() for line in [first, *others])
