"""Secret values: where they are in encoded arguments and results, and the documents in which they are replaced.

A path leads from a JSON document to a secret value: the names of the members of objects, indexes of arrays in decimal
digits, and ``*`` for all members of an object or all items of an array. A name also applies to all items of an array,
so that ``cards.number`` covers a list of cards. Where a path expects an object or an array and finds another value,
this value is replaced: rather too much is hidden than too little. Null is not secret.

The function `redacted` of the database follows the same rules.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, cast

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from horsies.codec.problems import CodecError
from horsies.codec.spellings import spellings
from horsies.codec.text import decode_json, encode_json

REDACTED = "[redacted]"
_MARK = "horsies_secret"
_EVERY = "*"
_SEPARATOR = b"\x1e"
_SHORTEST = 6
"""Shorter secret texts are not replaced in messages, because they also occur by chance."""
_FEW = 32
"""So many secret texts, in all spellings, are searched one by one. An index of more secrets is faster."""

# The keys of core schemas whose values are not schemas, although they may be dicts.
_NO_SCHEMAS = frozenset({"config", "context", "default", "expected", "function", "members", "metadata", "ref"})

type SecretPath = tuple[str, ...]
type _Schema = Mapping[str, Any]

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class SecretMark:
    """The annotation by which `Secret` marks a type."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Mark the schema of the type. The chain with one step has no other effect."""
        return core_schema.chain_schema([handler(source)], metadata={_MARK: True})


Secret = Annotated[_T, SecretMark()]
"""Marks a value as secret, in the annotations of a task and in the types that they use: ``Secret[str]``.

For type checkers, ``Secret[T]`` is ``T``. Secret arguments and results are stored in separate columns, which only
workers and producers can read. Everything else shows ``[redacted]`` in their place.
"""


def secret_paths(schema: _Schema) -> tuple[SecretPath, ...]:
    """Return the paths to all values that `Secret` marks in a core schema of pydantic.

    If a type contains secrets and refers to itself, the nested values of this type are secret as a whole. So is a value
    that contains a secret and is written by a function of the user, and so are all items of a tuple of which one is.
    """
    return tuple(dict.fromkeys(_Walk(schema).paths(schema, (), frozenset())))


def has_place(schema: _Schema, path: SecretPath) -> bool:
    """Whether values of a core schema can have something at a path. Types that accept any value can."""
    return _Walk(schema).has_place(schema, path, frozenset())


class _Walk:
    """Walks through a core schema. The definitions that its parts refer to are collected first."""

    def __init__(self, schema: _Schema) -> None:
        self._definitions: dict[str, _Schema] = {}
        self._collect(schema)

    def _collect(self, node: _Schema) -> None:
        if isinstance(node.get("ref"), str):
            self._definitions[node["ref"]] = node
        for _key, inner in _members(node):
            self._collect(inner)

    def paths(self, node: _Schema, path: SecretPath, within: frozenset[str]) -> Iterator[SecretPath]:
        if _is_marked(node):
            yield path
            return
        name = node.get("ref") or node.get("schema_ref")
        if isinstance(name, str):
            if name in within:
                if self._has_secret(self._definitions[name], set()):
                    yield path
                return
            within |= {name}
        if node.get("type") == "definition-ref":
            yield from self.paths(self._definitions[node["schema_ref"]], path, within - {name})
            return
        if _has_serializer(node) and self._has_secret(node, set()):
            yield path  # the function may write the value in any form
            return
        for step, inner in _parts(node):
            yield from self.paths(inner, path if step is None else (*path, step), within)

    def _has_secret(self, node: _Schema, seen: set[str]) -> bool:
        if _is_marked(node):
            return True
        if node.get("type") == "definition-ref":
            name = node["schema_ref"]
            if name in seen:
                return False
            seen.add(name)
            return self._has_secret(self._definitions[name], seen)
        return any(self._has_secret(inner, seen) for _step, inner in _parts(node))

    def has_place(self, node: _Schema, path: SecretPath, within: frozenset[tuple[str, SecretPath]]) -> bool:
        kind = node.get("type")
        if not path or kind == "any":
            return True
        if kind == "definition-ref":
            key = (node["schema_ref"], path)
            return key not in within and self.has_place(self._definitions[key[0]], path, within | {key})
        parts = list(_parts(node))
        named = [(step, inner) for step, inner in parts if step is not None]
        step, rest = path[0], path[1:]
        if kind in {"list", "set", "frozenset", "tuple", "call"} and not (step == _EVERY or step.isdecimal()):
            rest = path  # a name applies to all items
        elif named and kind != "dict":
            named = [(name, inner) for name, inner in named if step in {name, _EVERY}]
        if kind in {"list", "dict"} and not named:
            return True  # of any values
        return any(self.has_place(inner, rest, within) for _step, inner in named) or any(
            self.has_place(inner, path, within) for step, inner in parts if step is None
        )


def _has_serializer(node: _Schema) -> bool:
    serialization: _Schema = node.get("serialization") or {}
    return str(serialization.get("type")).startswith("function")


def _is_marked(node: _Schema) -> bool:
    return bool(cast("Mapping[str, object]", node.get("metadata") or {}).get(_MARK))


def _parts(node: _Schema) -> Iterator[tuple[str | None, _Schema]]:
    """Yield the schemas inside a schema, each with its step from the value of the outer one; None: the same value."""
    kind = node.get("type")
    for key, inner in _members(node):
        if key in {"keys_schema", "definitions", "python_schema", "lax_schema", "serialization"}:
            continue  # keys are not values; definitions are reached by references; the others describe no JSON
        if kind in {"list", "set", "frozenset", "tuple", "dict", "call"} and key != "fields":
            yield _EVERY, inner
        elif key == "fields":
            yield inner["_name"], inner["schema"]
        else:
            yield None, inner


def _members(node: _Schema) -> Iterator[tuple[str, _Schema]]:
    """Yield the schemas that are directly inside a schema, with their keys; fields with their names."""
    for key, value in node.items():
        if key in _NO_SCHEMAS:
            continue
        if key == "fields":
            fields: Iterable[_Schema] = (
                ({**field, "_name": name} for name, field in cast("dict[str, Any]", value).items())
                if isinstance(value, dict)
                else ({**field, "_name": field["name"]} for field in _schemas(cast("list[object]", value)))
            )
            yield from ((key, field) for field in fields)
        elif key == "choices" and isinstance(value, dict):
            yield from ((key, choice) for choice in _schemas(cast("dict[str, Any]", value).values()))
        elif isinstance(value, dict):
            yield key, cast("_Schema", value)
        elif isinstance(value, list):
            yield from ((key, inner) for inner in _schemas(cast("list[object]", value)))


def _schemas(values: Iterable[Any]) -> Iterator[_Schema]:
    for value in values:
        found = cast("tuple[object, ...]", value)[0] if isinstance(value, tuple) else value  # a choice with its label
        if isinstance(found, dict):
            yield cast("_Schema", found)


def parse_path(text: str) -> SecretPath:
    """Return the path that a text such as ``card.number`` describes."""
    return tuple(text.split("."))


def replace_secrets(
    document: Any,
    paths: Sequence[SecretPath],
    secret: Callable[[Any], Any],
    elsewhere: Callable[[str], str] | None = None,
) -> Any:
    """Return a copy of a JSON document with other values at some paths.

    Args:
        document: The decoded document.
        paths: The paths.
        secret: Returns the new value for the value at a path, which is not null.
        elsewhere: Returns the new text for each text that is not at a path, also for keys; None: these stay. A number
            whose JSON text would change becomes ``[redacted]``.
    """
    if document is None or (not paths and elsewhere is None):
        return document
    if any(not path for path in paths):
        return secret(document)
    if isinstance(document, dict):
        members = cast("dict[str, Any]", document)
        return {
            (key if elsewhere is None else elsewhere(key)): replace_secrets(
                value, _inside(paths, key), secret, elsewhere
            )
            for key, value in members.items()
        }
    if isinstance(document, list):
        items = enumerate(cast("list[object]", document))
        return [replace_secrets(item, _in_item(paths, index), secret, elsewhere) for index, item in items]
    if paths:
        return secret(document)
    return document if elsewhere is None else _replaced(document, elsewhere)


def _replaced(value: Any, elsewhere: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return elsewhere(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        shown = repr(value)
        return value if elsewhere(shown) == shown else REDACTED
    return value


def _inside(paths: Sequence[SecretPath], key: str) -> list[SecretPath]:
    return [path[1:] for path in paths if path[0] in {key, _EVERY}]


def _in_item(paths: Sequence[SecretPath], index: int) -> list[SecretPath]:
    return [
        path[1:] if path[0] in {str(index), _EVERY} else path
        for path in paths
        if not path[0].isdecimal() or path[0] == str(index)
    ]


def redact(document: Any, paths: Sequence[SecretPath], elsewhere: Callable[[str], str] | None = None) -> Any:
    """Return a copy of a JSON document with ``[redacted]`` at the paths; see `replace_secrets`."""
    return replace_secrets(document, paths, lambda _value: REDACTED, elsewhere)


def hidden_error(error: CodecError, paths: Sequence[SecretPath]) -> CodecError:
    """Return an error of encoding without the value if the value may be, or contain, a secret; otherwise the error."""
    first = str(error.path[0]) if error.path else None
    if first is not None and not any(not path or path[0] in {first, _EVERY} for path in paths):
        return error
    return CodecError(error.path, "does not have the declared type or cannot be stored; its value is secret")


def seal(public: Any, complete: bytes) -> bytes:
    """Return the stored form of a document with secrets: two JSON texts, as in RFC 7464.

    The first one is public, the second one is complete. The functions `public_part` and `secret_part` of the database
    split them. A statement that does not split them fails, because they are not one JSON text.
    """
    return b"".join((_SEPARATOR, encode_json(public), _SEPARATOR, complete))


def split_sealed(stored: bytes) -> tuple[bytes, bytes | None]:
    """Return the public and the complete form of an encoded document; None: it has no secrets."""
    if not stored.startswith(_SEPARATOR):
        return stored, None
    _nothing, public, complete = stored.split(_SEPARATOR)
    return public, complete


def seal_at(encoded: bytes, paths: Sequence[SecretPath]) -> bytes:
    """Return the stored form of an encoded document, which is the document itself if there are no paths."""
    return seal(redact(decode_json(encoded), paths), encoded) if paths else encoded


def hidden_parts(complete: Any, public: Any) -> Iterator[Any]:
    """Yield the values in a complete document that are replaced in the public one.

    Of a text of which a part is replaced, the whole text and the replaced parts are returned.
    """
    if complete == public:
        return
    inner, shown = _flat(complete), _flat(public)
    if inner is not None and shown is not None and type(complete) is type(public) and len(inner) == len(shown):
        for value, replaced in zip(inner, shown, strict=True):
            yield from hidden_parts(value, replaced)
    else:
        yield complete
        if isinstance(complete, str) and isinstance(public, str):
            yield from _replaced_parts(complete, public)


def _flat(value: Any) -> list[Any] | None:
    """Return the items of an array, or the names and values of an object; None: the value is neither."""
    if isinstance(value, dict):
        return [each for member in cast("dict[str, Any]", value).items() for each in member]
    return value if isinstance(value, list) else None  # pyright: ignore[reportUnknownVariableType] # of Any, for mypy


def _replaced_parts(complete: str, public: str) -> Iterator[str]:
    """Yield what is in a text where the public text has ``[redacted]``."""
    before, *others = public.split(REDACTED)
    begin = len(before)
    for number, shown in enumerate(others, 1):
        end = len(complete) - len(shown) if number == len(others) else complete.find(shown, begin)
        if end < begin:
            return
        yield complete[begin:end]
        begin = end + len(shown)


class Scrubber:
    """Replaces secret texts in other texts.

    Numbers are replaced as well, in their JSON form, and so is a text as ``repr`` and JSON show it, and the parts of a
    long text that remain when a message shortens it. Bytes are base64 in JSON. They are replaced in this form, as
    ``repr`` shows them, as text in UTF-8, and as hexadecimal digits. Dates, times, durations and UUIDs are replaced as
    JSON, ``str`` and ``repr`` show them. Texts of less than six characters are not replaced.
    """

    __slots__ = ("_lengths", "_texts")

    def __init__(self, documents: Iterable[tuple[Any, Sequence[SecretPath]]]) -> None:
        """Collect the texts at the given paths of decoded documents."""
        found: set[str] = set()
        for document, paths in documents:
            replace_secrets(document, paths, lambda value: found.update(_texts_in(value)))
        self._texts = {spelling for text in found for spelling in spellings(text) if len(spelling) >= _SHORTEST}
        lengths: dict[str, set[int]] = {}
        for each in self._texts:
            lengths.setdefault(each[:_SHORTEST], set()).add(len(each))
        self._lengths = {begin: sorted(found, reverse=True) for begin, found in lengths.items()}

    def __call__(self, text: str) -> str:
        """Return a text with ``[redacted]`` in place of the secrets. Secrets that overlap are replaced as one."""
        spans = self._spans_by_search(text) if len(self._texts) <= _FEW else self._spans_by_index(text)
        if not spans:
            return text
        parts: list[str] = []
        shown_from = 0  # the end of what is replaced so far
        for begin, end in spans:
            if begin >= shown_from:
                parts += (text[shown_from:begin], REDACTED)
            shown_from = max(shown_from, end)
        return "".join((*parts, text[shown_from:]))

    def _spans_by_search(self, text: str) -> list[tuple[int, int]]:
        """Return where secrets are, in order. The time grows with the number of the secrets."""
        spans: list[tuple[int, int]] = []
        for secret in self._texts:
            if secret in text:
                begin = text.find(secret)
                while begin >= 0:
                    spans.append((begin, begin + len(secret)))
                    begin = text.find(secret, begin + len(secret))
        return sorted(spans)

    def _spans_by_index(self, text: str) -> list[tuple[int, int]]:
        """Return where secrets are, in order. The time does not depend on the number of the secrets.

        At each character of the text, one look-up finds the lengths of the secrets that begin like the text from
        there, and one more for each length finds whether there is one.
        """
        spans: list[tuple[int, int]] = []
        lengths_of, texts = self._lengths.get, self._texts
        for begin in range(len(text) - _SHORTEST + 1):
            for length in lengths_of(text[begin : begin + _SHORTEST], ()):
                if text[begin : begin + length] in texts:
                    spans.append((begin, begin + length))
                    break
        return spans


def _texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in cast("dict[str, Any]", value).items():
            yield key
            yield from _texts_in(inner)
    elif isinstance(value, list):
        for inner in cast("list[object]", value):
            yield from _texts_in(inner)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield repr(value)
