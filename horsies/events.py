"""Log events: the function that reports an event, and the formatters that write it as text or JSON."""

import json
import logging
import sys
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Literal

from horsies.masking import mask_known_secrets
from horsies.rendering import printable, printable_json

type LogFormat = Literal["text", "json", "short"]

_log = logging.getLogger("horsies")


def event(name: str, /, *, level: int = logging.INFO, **fields: object) -> None:
    """Log an event.

    Args:
        name: The event, as ``noun.verb_past`` (``task.failed``).
        level: A level of `logging`.
        fields: Details of the event. They must never contain arguments of tasks or secrets.
    """
    if _log.isEnabledFor(level):
        # The message repeats the fields, because a producer logs with the formatters of the program.
        facts = " ".join(f"{key}={_plain(value)}" for key, value in fields.items())
        arguments = (facts,) if facts else ()
        _log.log(level, f"{name} %s" if facts else name, *arguments, extra={"event": name, "fields": fields})


def is_logged(level: int) -> bool:
    """Whether events of this level are logged."""
    return _log.isEnabledFor(level)


@contextmanager
def without_event(name: str) -> Generator[None]:
    """Within this block events of a name reach no log, because the program itself reports them."""

    def is_other(record: logging.LogRecord) -> bool:
        return getattr(record, "event", None) != name

    _log.addFilter(is_other)
    try:
        yield
    finally:
        _log.removeFilter(is_other)


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return getattr(record, "fields", {})


def _name(record: logging.LogRecord) -> str:
    """Return the name of an event, or the message of any other log record, with its secrets masked."""
    return getattr(record, "event", None) or mask_known_secrets(record.getMessage())


def _plain(value: object) -> str:
    text = mask_known_secrets(str(value))
    if not text or any(mark in text for mark in ' "=\n') or printable(text) != text:
        return _json(text)
    return text


def _json(document: object) -> str:
    """JSON without characters that a terminal obeys: names of tasks and texts of exceptions may hold any."""
    shown = json.dumps(document, default=lambda value: mask_known_secrets(str(value)), ensure_ascii=False)
    return printable_json(shown)


class TextFormatter(logging.Formatter):
    """Formats each event as one line: time, level, name, key=value."""

    def format(self, record: logging.LogRecord) -> str:
        """Format one record. A traceback follows on separate lines."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        pairs = [f"{key}={_plain(value)}" for key, value in _fields(record).items()]
        source = [] if record.name == "horsies" else [f"logger={record.name}"]
        message = _name(record)
        line = " ".join([moment, record.levelname, message, *source, *pairs])
        return f"{line}\n{mask_known_secrets(self.formatException(record.exc_info))}" if record.exc_info else line


class ShortFormatter(TextFormatter):
    """Formats events for a terminal: local time in seconds, and the level only if it is above INFO."""

    def format(self, record: logging.LogRecord) -> str:
        """Format one record. A traceback follows on separate lines."""
        _, level, line = super().format(record).split(" ", 2)
        moment = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        return f"{moment} {line if record.levelno <= logging.INFO else f'{level} {line}'}"


class JsonFormatter(logging.Formatter):
    """Formats each event as one line with a JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """Format one record. A traceback goes into the field ``traceback``."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        document: dict[str, object] = {
            "time": moment,
            "level": record.levelname,
            "logger": record.name,
            "event": _name(record),
        }
        document |= {key: _masked(value) for key, value in _fields(record).items()}
        if record.exc_info:
            document["traceback"] = mask_known_secrets(self.formatException(record.exc_info))
        return _json(document)


def _masked(value: object) -> object:
    return mask_known_secrets(value) if isinstance(value, str) else value


def configure_logging(level: str, log_format: LogFormat) -> None:
    """Write the log of this process to standard error, including the records of the program's own loggers."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter({"json": JsonFormatter, "text": TextFormatter, "short": ShortFormatter}[log_format]())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("psycopg").setLevel(logging.ERROR)  # horsies logs its own events for connection problems
