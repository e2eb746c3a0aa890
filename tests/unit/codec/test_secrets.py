"""Secrets in types and documents: where they are, and what is shown in their place."""

import json
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, TypedDict

import pytest
from pydantic import BaseModel, Field, model_serializer

from horsies import (
    AppConfig,
    Horsies,
    PostgresConfig,
    Secret,
    TaskDefinitionError,
    TaskError,
    TaskResult,
)
from horsies.codec.adapters import CodecError, TypeCodec
from horsies.codec.secrets import (
    REDACTED,
    Scrubber,
    has_place,
    hidden_parts,
    parse_path,
    redact,
    seal_at,
    secret_paths,
    split_sealed,
)
from horsies.codec.signature import SignatureCodec
from horsies.workflows.compile import compile_run


class Card(BaseModel):
    number: Secret[str]
    cvc: Secret[int] | None = None
    holder: str = "Ada"


@dataclass
class Account:
    name: str
    cards: list[Card]
    tokens: dict[str, Secret[str]]
    parent: "Account | None" = None


class Login(TypedDict):
    card: Secret[Card]
    pair: tuple[int, Secret[str]]


class Point(NamedTuple):
    x: int
    secret: Secret[str]


class Renamed(BaseModel):
    number: Secret[str]

    @model_serializer
    def write(self) -> dict[str, str]:
        return {"n": self.number}


class WithInit(BaseModel):
    number: Secret[str]

    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)


class Node(BaseModel):
    value: Any = None
    children: "list[Node]" = []


type Token[T] = Secret[T]


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (str, set()),
        (Node, set()),
        (Secret[str], {""}),
        (Token[str], {""}),
        (Annotated[Secret[int], Field(gt=0)], {""}),
        (Secret[str] | None, {""}),
        (list[Secret[str]], {"*"}),
        (set[Secret[str]], {"*"}),
        (dict[str, Secret[int]], {"*"}),
        (Card, {"number", "cvc"}),
        (list[Card | None], {"*.number", "*.cvc"}),
        (Card | Account, {"number", "cvc", "cards.*.number", "cards.*.cvc", "tokens.*", "parent"}),
        (Login, {"card", "pair.*"}),
        (Renamed, {""}),
        (WithInit, {"number"}),
        (tuple[Node, Card], {"*.number", "*.cvc"}),
    ],
    ids=map(str, range(16)),
)
def test_the_paths_of_a_type(annotation: Any, expected: set[str]) -> None:
    assert {".".join(path) for path in secret_paths(TypeCodec(annotation).schema)} == expected


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Card, Card(number="4111 secret", cvc=123456)),
        (Account, Account("a", [Card(number="4111 secret")], {"x": "secret"}, Account("b", [], {"y": "secret"}))),
        (Login, {"card": Card(number="4111 secret"), "pair": (1, "secret")}),
        (Point, Point(1, "secret")),
        (Secret[str], "secret"),
        (Secret[bytes], b"secret"),
    ],
    ids=["model", "dataclass", "typed dict", "named tuple", "text", "bytes"],
)
def test_a_public_document_has_no_secret_and_the_complete_one_is_unchanged(annotation: Any, value: Any) -> None:
    codec = TypeCodec(annotation)
    encoded = codec.encode(value)
    public, complete = split_sealed(seal_at(encoded, secret_paths(codec.schema)))
    assert complete == encoded
    assert codec.decode(encoded) == value
    assert "secret" not in json.loads(public)
    assert b"4111" not in public
    assert b"c2VjcmV0" not in public
    assert REDACTED.encode() in public


@pytest.mark.parametrize(
    ("annotation", "path", "expected"),
    [
        (Account, "cards.number", True),
        (Account, "cards.*.number", True),
        (Account, "cards.0.number", True),
        (Account, "cards.numbr", False),
        (Account, "parent.parent.tokens.shop", True),
        (Account, "name.first", False),
        (dict[str, Any], "any.thing", True),
        (Any, "any.thing", True),
        (Node, "children.children.value.x", True),
        (Node, "children.childs", False),
        (Card | None, "number", True),
        (list, "any", True),
    ],
    ids=map(str, range(12)),
)
def test_whether_a_path_leads_somewhere(annotation: Any, path: str, expected: bool) -> None:  # noqa: FBT001
    assert has_place(TypeCodec(annotation).schema, parse_path(path)) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no card 4111-1111", "no card [redacted]"),
        ("ValueError('it\\'s \"secret\"')", "ValueError('[redacted]')"),
        ("number 12345678.5", "number [redacted]"),
        ("short abc stays", "short abc stays"),
        ("input_value='abcdefghijklmnopqrstuvwx...23456789abcdefghijklmnopqrstuvwxyz'", None),
    ],
)
def test_secret_texts_are_replaced_in_texts(text: str, expected: str | None) -> None:
    long = "abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz"
    document = {"s": ["4111-1111", 'it\'s "secret"', 12345678.5, "abc", long, True, None], "open": "card"}
    scrub = Scrubber([(document, [("s",)])])
    if expected is None:
        assert scrub(text).count(REDACTED) == 2
        assert "abcdef" not in scrub(text)
    else:
        assert scrub(text) == expected


@pytest.mark.parametrize(
    "text", ["bad key b'token-\\xff-123456'", "746f6b656e2dff2d313233343536", "dG9rZW4t/y0xMjM0NTY="]
)
def test_secret_bytes_are_replaced_in_each_spelling(text: str) -> None:
    scrub = Scrubber([({"key": "dG9rZW4t/y0xMjM0NTY="}, [("key",)])])
    assert REDACTED in scrub(text)
    assert "123456" not in scrub(text)
    assert "dG9rZW4" not in scrub(text)


def test_secret_bytes_are_replaced_as_text() -> None:
    scrub = Scrubber([({"key": "dG9rZW4tMTIzNDU2"}, [("key",)])])
    assert scrub("bad key token-123456!") == f"bad key {REDACTED}!"


def test_secret_numbers_are_replaced_where_they_are_numbers() -> None:
    scrub = Scrubber([({"pin": 12345678, "card": "87654321"}, [("pin",), ("card",)])])
    document = {"pin": 12345678, "list": [87654321, 12345.5, True, None], "n": 1}
    assert redact(document, (), scrub) == {"pin": REDACTED, "list": [REDACTED, 12345.5, True, None], "n": 1}


class CountedText(str):
    """A text that counts how often it is searched or sliced."""

    steps = 0
    __slots__ = ()

    def __contains__(self, key: object) -> bool:
        CountedText.steps += 1
        return super().__contains__(key)  # type: ignore[arg-type]

    def __getitem__(self, key: object) -> str:  # type: ignore[override]
        CountedText.steps += 1
        return super().__getitem__(key)  # type: ignore[index]


def test_the_time_to_replace_secrets_does_not_grow_with_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    scrub = Scrubber([({"s": [f"secret-{number:05d}" for number in range(16_000)]}, [("s",)])])
    monkeypatch.setattr(CountedText, "steps", 0)
    assert scrub(CountedText("no secret-00017, secret-15999 or secret-x")) == f"no {REDACTED}, {REDACTED} or secret-x"
    assert CountedText.steps < 100


@pytest.mark.parametrize("others", [0, 100])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("abcdefghijklmnop", REDACTED),
        ("<abcdefghijklmnop>", f"<{REDACTED}>"),
        ("abcdefabcdef", REDACTED * 2),
        ("abcdef efghijklmnop", f"{REDACTED} {REDACTED}"),
        ("redacted abcdef", f"{REDACTED} {REDACTED}"),
        ("abcde", "abcde"),
        ("", ""),
    ],
)
def test_secrets_that_overlap_are_replaced_as_one(text: str, expected: str, others: int) -> None:
    secrets = ["abcdef", "efghijklmnop", "efghij", "redacted", *(f"other-{number}" for number in range(others))]
    assert Scrubber([({"s": secrets}, [("s",)])])(text) == expected


def test_null_is_not_secret_and_other_values_are_replaced_as_a_whole() -> None:
    assert redact({"card": None}, [("card", "number")]) == {"card": None}
    assert redact({"card": "4111"}, [("card", "number")]) == {"card": REDACTED}
    assert redact([{"a": 1}, {"a": 2}], [("1", "a")]) == [{"a": 1}, {"a": REDACTED}]


def charge(card: Secret[str], address: str = "x", pin: Secret[str] = "default pin") -> TaskResult[None, TaskError]:
    return TaskResult(ok=None)


def test_neither_errors_nor_declared_defaults_show_a_secret() -> None:
    signature = SignatureCodec(charge)
    with pytest.raises(CodecError, match="its value is secret") as caught:
        signature.encode_call((4111_1111,), {})
    assert caught.value.parameter == "card"
    assert "4111" not in repr(caught.value) + repr(caught.value.__cause__)
    with pytest.raises(CodecError, match="got int"):
        signature.encode_call(("4111", 5), {})
    assert signature.encode_defaults() == b'{"address":"x","pin":"[redacted]"}'
    assert b"default pin" not in signature.encode_compared(("4111",), {}, None)
    assert "default pin" not in json.dumps(signature.json_schema())


APP = Horsies(AppConfig(broker=PostgresConfig(database_url="postgresql://127.0.0.1:1/jobs")))


def wrong_option(option: dict[str, Any]) -> str:
    with pytest.raises(TaskDefinitionError) as caught:
        APP.task("charge", **option)(charge)
    assert caught.value.code == "HRS-102"
    return caught.value.message


@pytest.mark.parametrize("redact", ["card", [""], ["card."], [1], None, {"card"}])
def test_an_option_that_is_no_list_of_paths_is_refused(redact: Any) -> None:
    assert "which is not a list of paths to arguments" in wrong_option({"redact": redact})


@pytest.mark.parametrize("path", ["crad", "card.number", "address.0"])
def test_a_path_that_leads_nowhere_is_refused(path: str) -> None:
    assert f"redact=[{path!r}], but its arguments have no such part" in wrong_option({"redact": [path]})


@pytest.mark.parametrize("key_by", ["card", ("address", "pin")])
def test_a_secret_argument_cannot_be_the_key(key_by: Any) -> None:
    assert "but this argument is secret" in wrong_option({"key_by": key_by})


def test_a_secret_of_a_path_cannot_be_the_key() -> None:
    assert "but this argument is secret" in wrong_option({"key_by": "address", "redact": ["address"]})


@pytest.mark.parametrize(
    ("complete", "public", "hidden"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": "s3cret"}, {"a": "[redacted]"}, ["s3cret", "s3cret"]),
        ("token s3cret!", "token [redacted]!", ["token s3cret!", "s3cret"]),
        ("<one> and <two>", "<[redacted]> and <[redacted]>", ["<one> and <two>", "one", "two"]),
        ("onetwo", "[redacted][redacted]", ["onetwo", "", "onetwo"]),
        ([1, {"pin": 7}], [1, {"pin": "[redacted]"}], [7]),
        ({"k-s3cret": 1}, {"k-[redacted]": 1}, ["k-s3cret", "s3cret"]),
        ([1, 2], "[redacted]", [[1, 2]]),
        ({"a": 1, "b": 2}, {"[redacted]": 2}, [{"a": 1, "b": 2}]),
        ("a text", "another one with [redacted]", ["a text"]),
    ],
)
def test_what_a_public_document_hides_is_found(complete: Any, public: Any, hidden: list[Any]) -> None:
    assert list(hidden_parts(complete, public)) == hidden


def test_a_workflow_shows_no_secret_arguments_of_its_nodes() -> None:
    task = APP.task("charge a card")(charge)
    spec = APP.workflow("shop", [task.node()(card="4111-1111")], definition_key="shop.v1")
    [node] = json.loads(compile_run(spec).document)["nodes"]
    assert node["args"]["card"] == "[redacted]"
    assert node["secret_args"]["card"] == "4111-1111"
