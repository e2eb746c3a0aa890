from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel

from horsies.cli.send import arguments_by_name, parse_arguments
from horsies.codec.signature import SignatureCodec
from horsies.errors import ErrorCode
from tests.support.problems import only_problem


class Address(BaseModel):
    city: str
    zip_code: str


def add(a: int, b: int = 2) -> None: ...
def greet(name: str, *, loud: bool = False) -> None: ...
def anything(value: Any, other: Any = None) -> None: ...
def either(value: int | str | None) -> None: ...
def pay(amount: Decimal, when: datetime | None = None, to: Address | None = None) -> None: ...
def share(parts: list[float], /, names: dict[str, str]) -> None: ...


def parse(fn: Callable[..., None], *texts: str, json_object: str | None = None) -> dict[str, Any]:
    """Return the arguments with which the function would be called, by name."""
    signature = SignatureCodec(fn)
    args, kwargs = parse_arguments(signature, arguments_by_name(signature, texts, json_object))
    return dict(zip(signature.parameters, args, strict=False)) | kwargs


@pytest.mark.parametrize(
    ("fn", "texts", "expected"),
    [
        (add, ["5", "3"], {"a": 5, "b": 3}),
        (add, ["5"], {"a": 5}),
        (add, ["-5"], {"a": -5}),
        (greet, ["world"], {"name": "world"}),
        (greet, ["5"], {"name": "5"}),
        (greet, ["true"], {"name": "true"}),
        (greet, ["null"], {"name": "null"}),
        (greet, ['{"a": 1}'], {"name": '{"a": 1}'}),
        (greet, [""], {"name": ""}),
        (greet, ["two words"], {"name": "two words"}),
        (greet, ['"quoted"'], {"name": "quoted"}),
        (greet, ["héllo 漢"], {"name": "héllo 漢"}),
        (anything, ["5", "five"], {"value": 5, "other": "five"}),
        (anything, ["NaN"], {"value": "NaN"}),
        (either, ["5"], {"value": 5}),
        (either, ["five"], {"value": "five"}),
        (either, ["null"], {"value": None}),
        (pay, ["1.10"], {"amount": Decimal("1.10")}),
        (pay, ["1", "2030-01-02T03:04:05Z"], {"amount": Decimal(1), "when": datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)}),
        (
            pay,
            ["1", "null", '{"city": "Bonn", "zip_code": "53111"}'],
            {"amount": Decimal(1), "when": None, "to": Address(city="Bonn", zip_code="53111")},
        ),
        (share, ["[1, 2.5]", '{"a": "b"}'], {"parts": [1.0, 2.5], "names": {"a": "b"}}),
    ],
)
def test_the_signature_says_what_an_argument_means(
    fn: Callable[..., None], texts: list[str], expected: dict[str, Any]
) -> None:
    found = parse(fn, *texts)
    assert found == expected
    assert [type(value) for value in found.values()] == [type(value) for value in expected.values()]


def test_arguments_by_name() -> None:
    assert parse(add, json_object='{"b": 4, "a": 1}') == {"a": 1, "b": 4}
    assert parse(greet, "5", json_object='{"loud": true}') == {"name": "5", "loud": True}
    assert parse(greet, json_object='{"name": "5"}') == {"name": "5"}


@pytest.mark.parametrize(
    ("fn", "texts", "json_object", "message"),
    [
        (add, ["five"], None, "a: "),
        (add, ["5.5"], None, "a: "),
        (add, ["1", "2", "3"], None, "3 arguments are given, and the task takes a, b"),
        (add, [], None, "a: "),
        (add, ["1"], '{"a": 2}', "given by position and in --json: a"),
        (add, [], '{"a": 1, "c": 2}', "c: "),
        (add, [], "{", "--json is not JSON"),
        (add, [], "[1, 2]", "--json must be an object of arguments by name"),
        (greet, [], '{"name": 5}', "name: "),
        (greet, ["a", "true"], None, "2 arguments are given, and the task takes name"),
    ],
)
def test_an_unsuitable_argument_is_refused_by_name(
    fn: Callable[..., None], texts: list[str], json_object: str | None, message: str
) -> None:
    problem = only_problem(lambda: parse(fn, *texts, json_object=json_object))
    assert problem.code == ErrorCode.CLI_INVALID_ARGS
    assert message in problem.message


def test_the_problem_is_that_of_the_likeliest_meaning() -> None:
    assert "5.5" in only_problem(lambda: parse(add, "5.5")).message
    assert "'5.5'" not in only_problem(lambda: parse(add, "5.5")).message
