"""Structured log events, and their text and JSON formats."""

import json
import logging
import sys
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Literal

from horsies.masking import mask_known_secrets
from horsies.rendering import printable_block, printable_json, printable_line

type LogFormat = Literal["text", "json", "short"]

NO_TASK = "-"
"""Stands for the attributes of `horsies.TaskLogFilter` in a record that is logged outside of a task or a span."""

_log = logging.getLogger("horsies")


def event(name: str, /, *, level: int = logging.INFO, **fields: object) -> None:
    """Log an event.

    Args:
        name: ``noun.verb_past``, such as ``child.died``.
        level: a level of `logging`.
        fields: facts about the event; never arguments of tasks, and no secrets.
    """
    if _log.isEnabledFor(level):
        # The message also contains the fields, because the formatters of a producer's program show only the message.
        facts = " ".join(f"{_key(key)}={_plain(value)}" for key, value in fields.items())
        arguments = (facts,) if facts else ()
        _log.log(level, f"{name} %s" if facts else name, *arguments, extra={"event": name, "fields": fields})


def is_logged(level: int) -> bool:
    """Whether events of this level are logged."""
    return _log.isEnabledFor(level)


@contextmanager
def without_event(name: str) -> Generator[None]:
    """Suppress events with this name within the block, because the program itself reports them."""

    def is_other(record: logging.LogRecord) -> bool:
        return getattr(record, "event", None) != name

    _log.addFilter(is_other)
    try:
        yield
    finally:
        _log.removeFilter(is_other)


def _fields(record: logging.LogRecord) -> dict[str, object]:
    """Return the task and the trace that a `horsies.TaskLogFilter` has added to a record, and its own fields."""
    task_id = getattr(record, "task_id", NO_TASK)
    task: dict[str, object] = {}
    if task_id != NO_TASK:
        attempt = getattr(record, "task_attempt", None)
        task = {"task": getattr(record, "task_name", None), "id": task_id, "attempt": attempt}
    trace_id = getattr(record, "trace_id", NO_TASK)
    if trace_id != NO_TASK:
        task["trace_id"] = trace_id
    return task | getattr(record, "fields", {})


def _name(record: logging.LogRecord) -> str:
    """Return the name of an event, or the masked message of any other record, which may contain a secret."""
    return getattr(record, "event", None) or mask_known_secrets(record.getMessage())


def _exception(record: logging.LogRecord, formatter: logging.Formatter) -> str | None:
    """Return the masked traceback and stack of a record; None if it has none."""
    parts = [formatter.formatException(record.exc_info)] if record.exc_info else []
    parts += [formatter.formatStack(record.stack_info)] if record.stack_info else []
    return mask_known_secrets("\n".join(parts)) if parts else None


def _plain(value: object) -> str:
    text = mask_known_secrets(str(value))
    if not text or any(mark in text for mark in ' "=') or printable_line(text) != text:
        return _json(text)
    return text


def _key(name: str) -> str:
    return printable_line(name).replace(" ", "_")


def _json(document: object) -> str:
    """Encode JSON with control characters escaped, because names of tasks and texts of exceptions may contain any."""
    shown = json.dumps(document, default=lambda value: mask_known_secrets(str(value)), ensure_ascii=False)
    return printable_json(shown)


class TextFormatter(logging.Formatter):
    """Formats an event as one line, whatever it contains: time in UTC, level, name, key=value pairs."""

    def format(self, record: logging.LogRecord) -> str:
        """Format one record. A traceback is the pair ``traceback``, with line breaks escaped."""
        traceback = _exception(record, self)
        return self._line(record) + ("" if traceback is None else f" traceback={_plain(traceback)}")

    def _line(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        pairs = [f"{_key(key)}={_plain(value)}" for key, value in _fields(record).items()]
        source = [] if record.name == "horsies" else [f"logger={_plain(record.name)}"]
        return " ".join([moment, _key(record.levelname), printable_line(_name(record)), *source, *pairs])


class ShortFormatter(TextFormatter):
    """Formats events for a terminal: local time to the second, and the level only above INFO."""

    def format(self, record: logging.LogRecord) -> str:
        """Format one record; a traceback follows on separate lines, which are indented."""
        _, level, line = self._line(record).split(" ", 2)
        moment = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        traceback = _exception(record, self)
        shown = f"{moment} {line if record.levelno <= logging.INFO else f'{level} {line}'}"
        return shown if traceback is None else printable_block(f"{shown}\n{traceback}")


class JsonFormatter(logging.Formatter):
    """Formats an event as one JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """Format one record; ``traceback`` contains the exception, if there is one."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        document: dict[str, object] = {
            "time": moment,
            "level": record.levelname,
            "logger": record.name,
            "event": _name(record),
        }
        document |= {key: _masked(value) for key, value in _fields(record).items()}
        traceback = _exception(record, self)
        if traceback is not None:
            document["traceback"] = traceback
        return _json(document)


def _masked(value: object) -> object:
    return mask_known_secrets(value) if isinstance(value, str) else value


def configure_logging(level: str, log_format: LogFormat, *filters: logging.Filter) -> None:
    """Send all log records of this process, including those of user code, to standard error.

    Args:
        level: the name of a level of `logging`, in any case.
        log_format: the format of the lines.
        filters: filters of the handler, which see every record.
    """
    handler = logging.StreamHandler(sys.stderr)
    for added in filters:
        handler.addFilter(added)
    handler.setFormatter({"json": JsonFormatter, "text": TextFormatter, "short": ShortFormatter}[log_format]())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("psycopg").setLevel(logging.ERROR)  # horsies logs failures of connections itself
