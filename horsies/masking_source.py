"""Masking of passwords in lines of Python source, which error reports show.

A line is split into tokens, because the end of a string literal is the end of a secret in it:

    connect(host="h", password="hunter2", port=1)   →  connect(host="h", password="***", port=1)
    f(f"postgresql://{user}:hunter2@{host}")        →  f(f"postgresql://{user}:***@{host}")
    password = os.environ["PASSWORD"]               →  password = os.environ["PASSWORD"]
"""

import io
import tokenize
from collections.abc import Iterable, Iterator
from contextlib import suppress

from horsies.masking import MASK, URL_SEPARATOR, mask_known_secrets, mask_unknown_secrets

_SECRET_PARTS = ("password", "passwd", "passphrase", "secret", "scram_")


def mask_source(line: str) -> str:
    """Mask the secrets in a line of Python source: in string literals, and literals assigned to secret names."""
    changes = list(_source_changes(line))
    end = max((stop for _, stop, _ in changes), default=0)
    tail = mask_unknown_secrets(line[end:]) if URL_SEPARATOR in line[end:] else line[end:]
    masked, position = "", 0
    for start, stop, text in changes:
        masked += line[position:start] + text
        position = stop
    return mask_known_secrets(masked + line[position:end] + tail)


def _source_changes(line: str) -> Iterator[tuple[int, int, str]]:
    """Yield start, end and replacement of each literal with a secret in a line of source code."""
    name, is_assigned, template = "", False, 0
    for token in _tokens(line):
        start, stop = token.start[1], token.end[1]
        if token.type == tokenize.FSTRING_START:
            template = start
        elif token.type in {tokenize.STRING, tokenize.FSTRING_END}:
            start = template if token.type == tokenize.FSTRING_END else start
            literal = line[start:stop]
            if is_assigned:
                yield start, stop, f'"{MASK}"'
            elif (shown := mask_unknown_secrets(literal)) != literal:
                yield start, stop, shown if shown[-1:] == literal[-1:] else shown + literal[-1]
            name, is_assigned = literal, False
        elif token.type == tokenize.OP and token.string in {"=", ":", ",", ")", "]", "["}:
            is_assigned = token.string in {"=", ":"} and _is_secret_name(name)
        elif token.type == tokenize.NAME:
            name, is_assigned = (token.string, False) if not is_assigned else (name, True)


def _is_secret_name(name: str) -> bool:
    return any(part in name.lower() for part in _SECRET_PARTS)


def _tokens(line: str) -> Iterable[tokenize.TokenInfo]:
    """Yield the tokens of a line, up to the first incomplete one: the line may be part of a longer statement."""
    found: list[tokenize.TokenInfo] = []
    with suppress(tokenize.TokenError, SyntaxError):
        found.extend(tokenize.generate_tokens(io.StringIO(line.lstrip()).readline))
    indent = len(line) - len(line.lstrip())
    for token in found:
        if token.start[0] == 1 and token.end[0] == 1:
            yield token._replace(start=(1, token.start[1] + indent), end=(1, token.end[1] + indent))
