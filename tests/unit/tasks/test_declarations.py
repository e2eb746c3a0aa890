"""What an app declares about its tasks for sends from SQL."""

import json
import warnings
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field, GetJsonSchemaHandler
from pydantic_core import core_schema

from horsies import (
    AppConfig,
    ConfigurationError,
    CustomQueueConfig,
    Horsies,
    QueueMode,
    RetryPolicy,
    TaskDefinitionError,
    TaskError,
    TaskResult,
    Unique,
)
from horsies.db.queries.declarations import TaskDeclaration
from horsies.tasks.declarations import declarations_of

RETRY = RetryPolicy.fixed([1], auto_retry_for=["BOOM"])
CONFIG = AppConfig(queue_mode=QueueMode.CUSTOM, custom_queues=[CustomQueueConfig(name="emails", priority=7)])

type Done = TaskResult[None, TaskError]


class Color(Enum):
    RED = (255, 0, 0)


@dataclass
class Address:
    street: str


class Card(BaseModel):
    number: int = Field(alias="cardNumber")


class Unwilling:
    """A type that refuses to describe itself as JSON Schema."""

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> core_schema.CoreSchema:
        return core_schema.str_schema()

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: Any, _handler: GetJsonSchemaHandler) -> dict[str, Any]:
        raise LookupError


def declared(app: Horsies) -> TaskDeclaration:
    [found] = declarations_of(app.config, app.registry).tasks
    return found


@pytest.mark.parametrize(
    ("unique", "declared_as"),
    [
        (Unique(), {"by": ["a", "b"], "until": "started", "on_conflict": "keep", "max_wait": None}),
        (
            Unique(by=("b",), on_conflict="replace", max_wait=5),
            {"by": ["b"], "until": "started", "on_conflict": "replace", "max_wait": 5},
        ),
    ],
)
def test_the_uniqueness_is_declared_with_the_names_of_parameters(unique: Unique, declared_as: dict[str, Any]) -> None:
    app = Horsies(CONFIG)

    @app.task("add", queue_name="emails", unique=unique)
    def add(a: int, b: int = 2) -> Done:
        return TaskResult(ok=None)

    assert add.task_name == "add"
    assert json.loads(declared(app).uniqueness or "null") == declared_as


def test_a_task_is_declared_with_its_options() -> None:
    app = Horsies(CONFIG)

    @app.task("mail", queue_name="emails", retry_policy=RETRY, timeout_ms=900)
    def mail(to: str, /, subject: str, *, copies: list[str] | None = None, count: int = 1) -> Done:
        return TaskResult(ok=None)

    found = declared(app)
    assert mail.task_name == found.task_name == "mail"
    assert (found.queue, found.priority, found.timeout_ms) == ("emails", 7, 900)
    assert found.retry_policy == RETRY.to_json().decode()
    assert json.loads(found.parameter_names) == ["to", "subject", "copies", "count"]
    assert json.loads(found.required_names) == ["to", "subject"]
    assert json.loads(found.defaults) == {"copies": None, "count": 1}
    assert found.uniqueness is None
    schema = json.loads(found.parameters)
    assert (schema["type"], schema["required"], schema["additionalProperties"]) == ("object", ["to", "subject"], False)
    assert {name: each.get("type") for name, each in schema["properties"].items()} == {
        "to": "string",
        "subject": "string",
        "copies": None,
        "count": "integer",
    }


def test_the_schema_describes_the_encoded_form() -> None:
    app = Horsies(AppConfig())

    @app.task("pay")
    def pay(card: Card, color: Color, data: bytes, at: datetime, home: Address = Address("x")) -> Done:  # noqa: B008
        return TaskResult(ok=None)

    schema = json.loads(declared(app).parameters)
    assert pay.task_name == "pay"
    assert schema["$defs"]["Card"]["required"] == ["number"]
    properties = schema["properties"]
    assert [properties[name]["type"] for name in ("data", "at")] == ["string", "string"]
    assert properties["color"] == {"$ref": "#/$defs/Color"}
    assert schema["$defs"]["Color"] == {"type": "string"}
    assert json.loads(declared(app).defaults) == {"home": {"street": "x"}}


def test_a_type_without_a_schema_allows_any_value() -> None:
    app = Horsies(AppConfig())

    @app.task("odd")
    def odd(a: Unwilling, b: int, c: Card) -> Done:
        return TaskResult(ok=None)

    assert odd.task_name == "odd"
    assert json.loads(declared(app).parameters) == {
        "type": "object",
        "properties": {
            "a": {},
            "b": {"type": "integer"},
            "c": {
                "properties": {"number": {"title": "Number", "type": "integer"}},
                "required": ["number"],
                "title": "Card",
                "type": "object",
            },
        },
        "required": ["a", "b", "c"],
        "additionalProperties": False,
    }


def test_defaults_that_cannot_be_sent_are_left_out_without_a_warning() -> None:
    app = Horsies(AppConfig())

    @app.task("odd")
    def odd(a: int = None, b: Annotated[object, Field(default=object())] = None, c: str = "\0") -> Done:  # type: ignore[assignment]  # noqa: RUF013
        return TaskResult(ok=None)

    assert odd.task_name == "odd"
    with warnings.catch_warnings(action="error"):
        assert declared(app).defaults == r'{"b":null,"c":"\u0000"}'


def test_tasks_have_no_variadic_parameters() -> None:
    app = Horsies(AppConfig())
    with pytest.raises(TaskDefinitionError, match="must be fixed and named"):

        @app.task("odd")
        def odd(**rest: int) -> Done:
            return TaskResult(ok=None)


def test_the_digest_changes_with_every_part_and_with_nothing_else() -> None:
    def digest(**options: Any) -> str:
        app = Horsies(CONFIG)

        @app.task("mail", queue_name="emails", **options)
        def mail(to: str) -> Done:
            return TaskResult(ok=None)

        assert mail.task_name == "mail"
        return declared(app).digest

    assert digest() == digest()
    assert len({digest(), digest(timeout_ms=900), digest(retry_policy=RETRY)}) == 3


def test_the_version_of_the_app() -> None:
    app = Horsies(AppConfig(app_version="2026.11"))
    assert declarations_of(app.config, app.registry).version == "2026.11"
    unnamed = Horsies(AppConfig())
    before = declarations_of(unnamed.config, unnamed.registry).version

    @unnamed.task("mail")
    def mail(to: str) -> Done:
        return TaskResult(ok=None)

    assert mail.task_name == "mail"
    assert declarations_of(unnamed.config, unnamed.registry).version != before != ""


def test_the_environment_names_the_version_if_the_app_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HORSIES_APP_VERSION", "6bf6b99")
    for config, version in ((AppConfig(), "6bf6b99"), (AppConfig(app_version="2026.11"), "2026.11")):
        app = Horsies(config)
        assert declarations_of(app.config, app.registry).version == version
    monkeypatch.setenv("HORSIES_APP_VERSION", "")
    assert AppConfig().named_version is None


@pytest.mark.parametrize("version", ["x" * 201, "a\nb", "a\x7fb"])
def test_a_version_in_the_environment_that_cannot_be_shown_is_refused(
    monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setenv("HORSIES_APP_VERSION", version)
    with pytest.raises(ConfigurationError, match="the environment variable HORSIES_APP_VERSION must have at most 200"):
        AppConfig()
    assert AppConfig(app_version="1").named_version == "1"


@pytest.mark.parametrize("version", ["", "x" * 201, "a\nb", "a\0b"])
def test_a_version_that_cannot_be_shown_is_refused(version: str) -> None:
    with pytest.raises(ConfigurationError, match="app_version"):
        AppConfig(app_version=version)
