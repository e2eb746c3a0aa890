"""Masking of passwords in text that is printed or logged.

Secrets are detected in two ways, and both are needed:

- A database URL that the program uses is parsed as libpq parses it (`split_url`). Its secrets are remembered, and
  `mask_secrets` replaces them wherever they occur, in any spelling.
- In any other text, URLs and ``password=`` settings are parsed leniently. If the end of a secret is ambiguous, too much
  is masked rather than too little. The same applies to a URL that cannot be parsed.

Examples of `mask_secrets`, without known secrets:

    postgresql://me:pw@db/jobs                          → postgresql://me:***@db/jobs
    postgresql://me:p@ss/w:rd?#@db/jobs                 → postgresql://me:***@db/jobs
    from postgresql://a:pw@b/c to 'postgres://d:pw@e/f' → from postgresql://a:***@b/c to 'postgres://d:***@e/f'
    postgresql://db/jobs?password=a@b&sslmode=disable   → postgresql://db/jobs?password=***&sslmode=disable
    postgresql://me:pw@db?password=a@b&sslmode=disable  → postgresql://me:***
    postgresql://me:pw@db/jobs, or me@example.com       → postgresql://me:***@example.com
    PASSWORD = 'hun ter2' host=h                        → PASSWORD = *** host=h
    no password supplied                                → no password supplied
    see https://example.com/a?b=c                       → see https://example.com/a?b=c

`horsies.masking_source` masks lines of source code.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from urllib.parse import quote, unquote

MASK = "***"
URL_SEPARATOR = "://"
SECRET_KEYWORDS = frozenset({"password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key"})
"""The connection keywords of libpq whose values are secrets."""

_SHORTEST_KNOWN = 4
_BEFORE_URL = frozenset(" \t\r\n'\"`([{<,;=|")
_SCHEME_EXTRA = frozenset("+.-_")
_VALUE_ENDS = frozenset(" \t\r\n,;&)]}'\"")
_QUOTES = frozenset("'\"")


class _Known:
    """The known secrets of this process.

    Attributes:
        spellings: All spellings of all secrets, the longest first. Only `remember_secrets` writes it;
            `mask_known_secrets` reads it in any thread.
    """

    spellings: tuple[str, ...] = ()


_known = _Known()


@dataclass(frozen=True, slots=True)
class UrlParts:
    """The parts of a libpq URL, split where libpq splits it. The parts are not percent-decoded."""

    user: str
    password: str | None
    place: str
    """Hosts, ports and the name of the database."""
    parameters: tuple[tuple[str, str | None], ...]

    @property
    def secrets(self) -> tuple[str, ...]:
        """The values to mask, as they are written in the URL."""
        found = [self.password, *(value for key, value in self.parameters if _is_secret_keyword(key))]
        return tuple(value for value in found if value)

    @property
    def public(self) -> frozenset[str]:
        """The values that may be shown, percent-decoded."""
        shown = [value for key, value in self.parameters if not _is_secret_keyword(key)]
        names = self.place.replace("/", ",").replace(":", ",").split(",")
        return frozenset(unquote(value) for value in [self.user, *names, *shown] if value)

    def masked(self) -> str:
        """Return the URL with its secrets masked."""
        password = "" if self.password is None else f":{MASK if self.password else ''}"
        at = "" if not self.user and self.password is None else "@"
        pairs = [
            key if value is None else f"{key}={MASK if value and _is_secret_keyword(key) else value}"
            for key, value in self.parameters
        ]
        return f"postgresql://{self.user}{password}{at}{self.place}{'?' if pairs else ''}{'&'.join(pairs)}"


def split_url(url: str) -> UrlParts:
    """Split a URL that begins with ``postgresql://`` where libpq splits it.

    The user part ends at the first ``@``, unless a ``/`` precedes it.
    """
    rest = url.partition(URL_SEPARATOR)[2]
    user, password = "", None
    head, at, tail = rest.partition("@")
    if at and "/" not in head:
        user, colon, written = head.partition(":")
        password = written if colon else None
        rest = tail
    place, mark, query = rest.partition("?")
    pairs: list[tuple[str, str | None]] = []
    for pair in query.split("&") if mark else ():
        key, equals, value = pair.partition("=")
        pairs.append((key, value if equals else None))
    return UrlParts(user, password, place, tuple(pairs))


def remember_secrets(url: str) -> None:
    """Mask the secrets of a database URL in all text from now on.

    A secret of fewer than four characters, or one that is also a name in the URL (``postgres:postgres@``), is masked
    in URLs only, because it would also match ordinary words. If the password contains an ``@`` or a ``/``, libpq may
    split the URL differently than its author intended; then everything that may be the password is remembered.
    """
    parts = split_url(url)
    head, at, _ = url.partition(URL_SEPARATOR)[2].rpartition("@")
    intended_password = head.partition(":")[2] if at and is_ambiguous(url) else ""
    found = [secret for secret in (*parts.secrets, intended_password) if len(unquote(secret)) >= _SHORTEST_KNOWN]
    spellings = {spelling for secret in found if unquote(secret) not in parts.public for spelling in _spellings(secret)}
    _known.spellings = tuple(sorted({*_known.spellings, *spellings}, key=len, reverse=True))


def is_ambiguous(url: str) -> bool:
    """Whether libpq may end the user part of a URL at another ``@`` than its author intended.

    That is so if another ``@`` remains in the hosts or the database name, or if a ``?`` precedes it.
    """
    parts = split_url(url)
    return "@" in parts.place or "?" in f"{parts.user}{parts.password}"


def mask_secrets(text: str) -> str:
    """Mask all secrets in a text: known secrets, passwords in URLs, and the values of settings such as password=."""
    return mask_known_secrets(mask_unknown_secrets(text))


def mask_unknown_secrets(text: str) -> str:
    """Mask everything that may be a secret in a URL or in a setting, without the known secrets."""
    starts = [*_url_starts(text), len(text)]
    before = _mask_settings(text[: starts[0]])
    return before + "".join(_mask_lenient_url(text[start:stop]) for start, stop in pairwise(starts))


def mask_known_secrets(text: str) -> str:
    """Mask only the secrets that `remember_secrets` knows."""
    for spelling in _known.spellings:
        text = text.replace(spelling, MASK)
    return text


def _spellings(secret: str) -> Iterator[str]:
    """A secret as its URL has it, decoded and encoded; each also inside of a quoted literal, and in a single line."""
    plain = unquote(secret)
    for spelling in (secret, plain, quote(plain, safe="", errors="replace"), quote(plain, errors="replace")):
        escaped = spelling.replace("\\", "\\\\")
        for text in (spelling, repr(spelling)[1:-1], escaped.replace("'", "\\'"), escaped.replace('"', '\\"')):
            yield text
            single_line = " ".join(text.split())
            if len(single_line) >= _SHORTEST_KNOWN:
                yield single_line


def _is_secret_keyword(key: str) -> bool:
    return unquote(key).strip().lower() in SECRET_KEYWORDS


def _url_starts(text: str) -> Iterator[int]:
    """Yield the position after the ``://`` of each URL. A URL must begin at the start of a word."""
    position = text.find(URL_SEPARATOR)
    while position >= 0:
        scheme = position
        while scheme and (text[scheme - 1].isalnum() or text[scheme - 1] in _SCHEME_EXTRA):
            scheme -= 1
        begins_word = scheme == 0 or text[scheme - 1] in _BEFORE_URL
        if scheme < position and begins_word and not _is_secret_value(text, scheme):
            yield position + len(URL_SEPARATOR)
        position = text.find(URL_SEPARATOR, position + 1)


def _is_secret_value(text: str, start: int) -> bool:
    """Whether a secret parameter's value begins at a position: a ``://`` in it does not make it a URL."""
    before = text[:start].rstrip(" '\"")
    if not before.endswith("="):
        return False
    name = before[:-1].rstrip(" '\"")
    begin = len(name)
    while begin and (name[begin - 1].isalnum() or name[begin - 1] in "_%"):
        begin -= 1
    return _is_secret_keyword(name[begin:])


def _mask_lenient_url(text: str) -> str:
    """Mask the password in a URL and the text after it. The password is taken to extend to the last ``@``."""
    secret = _first_secret_parameter(text)
    head, rest = text[:secret], text[secret:]
    user, colon, _ = head.partition(":")
    if colon and "@" in rest:
        # The @ may end the user part, or belong to the value of the parameter. So the password may be all of the text
        # after the colon, and the rest of the text is dropped with it.
        return f"{user}:{MASK}"
    head, at, tail = head.rpartition("@")
    user, colon, password = head.partition(":")
    if at and colon and password:
        head = f"{user}:{MASK}"
    return head + at + _mask_settings(tail) + _mask_parameters(rest)


def _first_secret_parameter(text: str) -> int:
    """Return the position of the ``?`` or ``&`` before the first secret parameter; the length if there is none."""
    for start, char in enumerate(text):
        if char in "?&":
            key, equals, _ = text[start + 1 :].partition("=")
            if equals and _is_secret_keyword(key):
                return start
    return len(text)


def _mask_parameters(text: str) -> str:
    """Mask the parameters of a URL, beginning with a secret one. Text that is not a parameter belongs to its value."""
    shown: list[str] = []
    for pair in text.split("&") if text else ():
        key, equals, _ = pair.partition("=")
        if equals and _is_secret_keyword(key.removeprefix("?")):
            shown.append(f"{key}={MASK}")
        elif equals and key.isascii() and key.isidentifier():
            shown.append(_mask_settings(pair))
        elif not pair:
            shown.append("")
        else:
            continue  # part of the secret, which contains an &
    return "&".join(shown)


def _mask_settings(text: str) -> str:
    """Mask the values of ``password=…`` and similar settings, quoted or not, as in connection strings and calls."""
    lowered = text.lower()
    found = sorted((position, keyword) for keyword in SECRET_KEYWORDS for position in _positions(lowered, keyword))
    masked, end = "", 0
    for position, keyword in found:
        value = _after_equals(text, position + len(keyword))
        if value is None:
            continue  # the name of a setting in a sentence
        if position < end:
            continue  # part of the secret, which contains the name of a setting
        masked += text[end:value] + MASK
        end = _value_end(text, value)
    return masked + text[end:]


def _positions(text: str, keyword: str) -> Iterator[int]:
    position = text.find(keyword)
    while position >= 0:
        yield position
        position = text.find(keyword, position + 1)


def _after_equals(text: str, position: int) -> int | None:
    """Return the position of the value of a setting; None if no ``=`` follows its name."""
    rest = text[position:].lstrip("'\" ")
    if not rest.startswith("="):
        return None
    value = rest[1:].lstrip(" ")
    return len(text) - len(value) if value else None


def _value_end(text: str, start: int) -> int:
    mark = text[start]
    if mark not in _QUOTES:
        return next((place for place in range(start, len(text)) if text[place] in _VALUE_ENDS), len(text))
    place = start + 1
    while place < len(text) and text[place] != mark:
        place += 2 if text[place] == "\\" else 1
    return min(place + 1, len(text))
