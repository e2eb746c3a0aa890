"""Rendering of errors in the style of rustc: the message, the line of source code, and the suggested fix."""

import json
import linecache
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TextIO
from unicodedata import east_asian_width

from horsies.errors import HorsiesError, SourceLocation, flatten
from horsies.masking import mask_known_secrets
from horsies.masking_source import mask_source

_RESET = "\x1b[0m"
_BOLD = "\x1b[1m"
_RED = "\x1b[1;31m"
_YELLOW = "\x1b[1;33m"
_BLUE = "\x1b[1;34m"
_TAB = 4
_STYLES = {"error": _RED, "warning": _YELLOW}

type Label = Literal["error", "warning"]
# Category Cc except \n and \t; category Cf except visible signs and the joiners that scripts and emoji need; line and
# paragraph separators; surrogates.
_NOT_SHOWN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    r"\ud800-\udfff\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e007f]"
)
_BREAKS = re.compile(r"[\n\t]")


def printable(text: str) -> str:
    r"""Escape characters that a terminal would interpret instead of showing, such as ``\x1b``.

    These are control characters except line breaks and tabs, invisible characters such as those that reverse the
    direction of writing, and lone surrogates, which no output can encode. Text from a database may contain any of them.
    """
    return _NOT_SHOWN.sub(lambda found: ascii(found[0])[1:-1], text)


def printable_line(text: str) -> str:
    r"""Escape the same characters as `printable`, and line breaks and tabs, so that the text stays in its line."""
    return _BREAKS.sub(lambda found: ascii(found[0])[1:-1], printable(text))


def printable_block(text: str) -> str:
    """Escape the same characters as `printable`, and indent all lines but the first, so that none can be forged."""
    return _indent(printable(text), "  ")


def printable_json(document: str) -> str:
    """Escape the same characters in a JSON document. Its value stays the same, because they occur in strings only."""
    return _NOT_SHOWN.sub(lambda found: json.dumps(found[0])[1:-1], document)


def use_color(stream: TextIO) -> bool:
    """Whether output to a stream is coloured.

    A non-empty ``HORSIES_FORCE_COLOR`` enables colour and takes precedence; a non-empty ``NO_COLOR`` disables it.
    Otherwise output is coloured if the stream is a terminal whose TERM is not ``dumb``.
    """
    if os.environ.get("HORSIES_FORCE_COLOR"):
        return True
    if os.environ.get("NO_COLOR"):
        return False
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def render_error(error: HorsiesError, *, color: bool) -> str:
    """Render an error. A `MultipleValidationErrors` is rendered as all the errors that it contains."""
    return render_errors([error], color=color)


def render_warnings(warnings: Iterable[HorsiesError], *, color: bool) -> str:
    """Render warnings in the same form as errors, with the label ``warning``."""
    return render_errors(warnings, color=color, label="warning")


def render_errors(errors: Iterable[HorsiesError], *, color: bool, label: Label = "error") -> str:
    """Render errors one below the other, followed by their number if there are several.

    Returns:
        The text, which ends with a line break.
    """
    paint = _Paint(color=color)
    blocks = [_render_one(error, paint, label) for error in flatten(errors)]
    if len(blocks) > 1:
        blocks.append(paint(_STYLES[label], label) + paint(_BOLD, f": {len(blocks)} {label}s"))
    return "\n\n".join(blocks) + "\n"


@dataclass(frozen=True, slots=True)
class _Paint:
    color: bool

    def __call__(self, style: str, text: str) -> str:
        return f"{style}{text}{_RESET}" if self.color else text


def _render_one(error: HorsiesError, paint: _Paint, label: Label) -> str:
    # Messages and notes may quote text of a user or a driver. A help text is written by this library and not masked,
    # because a password such as "password" would remove words from it.
    message = _indent(printable(mask_known_secrets(error.message)), "  ")
    lines = [paint(_STYLES[label], f"{label}[{error.code}]") + paint(_BOLD, f": {message}")]
    margin = " "
    if error.location is not None:
        margin = " " * len(str(error.location.line))
        lines += _render_source(error.location, margin, paint)
    lines += [_render_footer("note", mask_known_secrets(note), margin, paint) for note in error.notes]
    if error.help_text is not None:
        lines.append(_render_footer("help", error.help_text, margin, paint))
    return "\n".join(lines)


def _render_source(location: SourceLocation, margin: str, paint: _Paint) -> list[str]:
    lines = [f"{margin}{paint(_BLUE, '-->')} {printable_line(short_path(location.file))}:{location.line}"]
    linecache.checkcache(location.file)
    source = mask_source(linecache.getline(location.file, location.line).rstrip()).expandtabs(_TAB)
    if source:
        code = source.lstrip()
        underline = " " * (len(source) - len(code)) + paint(_RED, "^" * _columns(code))
        bar = paint(_BLUE, f"{margin} |")
        lines += [bar, f"{paint(_BLUE, f'{location.line} |')} {printable(source)}", f"{bar} {underline}"]
    return lines


def _render_footer(label: str, text: str, margin: str, paint: _Paint) -> str:
    head = f"{margin} = {label}: "
    return f"{margin} {paint(_BLUE, '=')} {paint(_BOLD, label)}: {_indent(printable(text), ' ' * len(head))}"


def _indent(text: str, margin: str) -> str:
    return text.replace("\n", f"\n{margin}")


def _columns(text: str) -> int:
    return sum(2 if east_asian_width(char) in "WF" else 1 for char in text)


def short_path(file: str) -> str:
    """Return a path relative to the working directory if it is below that, and otherwise unchanged."""
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file
