"""The pages of definitions, and the form that sends a task."""

import html
import re
import threading
from collections.abc import Callable
from datetime import date
from enum import StrEnum
from typing import Literal

import httpx
import pytest

from horsies import (
    AppConfig,
    Horsies,
    PostgresConfig,
    Secret,
    TaskError,
    TaskResult,
    Unique,
    WorkflowDefinition,
    WorkflowSpec,
)
from horsies.web import Right, User
from tests.support.factories import DrivenWorker
from tests.support.sessions import Session, column, scalar
from tests.support.web import Visitor

TOKEN = re.compile('name="token" value="([^"]+)"')


class Size(StrEnum):
    SMALL = "small"
    LARGE = "large"


@pytest.fixture
def shop(database_url: str) -> Horsies:
    """Return an app with tasks of many signatures."""
    app = Horsies(AppConfig(broker=PostgresConfig(database_url=database_url, auto_migrate=False)))

    @app.task("resize")
    def resize(  # noqa: PLR0917 - one of each kind
        name: str,
        width: int,
        day: date | None = None,
        size: Size = Size.SMALL,
        fit: Literal["cover", "contain"] = "cover",
        tags: list[str] | None = None,
        *,
        sharp: bool = False,
    ) -> TaskResult[int, TaskError]:
        return TaskResult(ok=1)

    @app.task("log_in")
    def log_in(user: str, password: Secret[str], attempts: int) -> TaskResult[int, TaskError]:
        return TaskResult(ok=1)

    @app.task("nothing")
    def nothing() -> TaskResult[int, TaskError]:
        return TaskResult(ok=1)

    @app.task("once", unique=Unique(on_conflict="reject"))
    def once() -> TaskResult[int, TaskError]:
        return TaskResult(ok=1)

    @app.workflow_builder(cases=[{"number": 1}])
    def flow(number: int) -> object:
        return None

    return app


def token(visitor: Visitor, task: str) -> str:
    [found] = TOKEN.findall(visitor.page(f"/send?task={task}"))
    return found


def submit(visitor: Visitor, task: str, **fields: str) -> httpx.Response:
    named = {f"arg.{name}": value for name, value in fields.items() if name not in {"delay", "priority", "key"}}
    options = {name: value for name, value in fields.items() if name in {"delay", "priority", "key"}}
    return visitor.act("/send/submit", task=task, token=token(visitor, task), **named, **options)


def test_a_form_is_made_from_the_signature(shop: Horsies) -> None:
    visitor = Visitor(shop)
    assert '<a href="./send?task=resize">resize</a>' in visitor.page("/send")
    text = visitor.page("/send?task=resize")
    names = re.findall('name="arg.([a-z]+)"', text)
    assert names == ["name", "width", "day", "size", "fit", "tags", "sharp"]
    for option in ("&#34;small&#34;", "&#34;contain&#34;", "true"):
        assert f'<option value="{option}">' in text
    assert "takes no arguments" in visitor.page("/send?task=nothing")
    assert visitor.get("/send?task=missing").status_code == 404


def test_a_sent_form_sends_the_task_once(shop: Horsies, db: Session) -> None:
    visitor = Visitor(shop)
    fields = {
        "arg.name": "5",
        "arg.width": "300",
        "arg.day": "2026-11-29",
        "arg.tags": '["a", "b"]',
        "arg.sharp": "true",
    }
    fields |= {"task": "resize", "token": token(visitor, "resize"), "arg.size": "", "priority": "7", "delay": "60"}
    answers = [visitor.act("/send/submit", **fields) for _ in range(2)]
    assert [each.status_code for each in answers] == [303, 303]
    [task_id] = column(db, "select id::text from horsies.tasks")
    assert {each.headers["location"] for each in answers} == {f"../tasks/{task_id}"}
    args, priority, waits = (
        db.execute("select args::jsonb, priority, run_at > sent_at + interval '50 s' from horsies.tasks").fetchone()
        or ()
    )
    assert args == {"name": "5", "width": 300, "day": "2026-11-29", "tags": ["a", "b"], "sharp": True}
    assert (priority, waits) == (7, True)
    assert submit(visitor, "nothing").status_code == 303


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"name": "a"}, "an argument is required"),
        ({"name": "a", "width": "wide"}, "expected int"),
        ({"name": "a", "width": "1", "day": "tomorrow"}, "expected date"),
        ({"name": "a", "width": "1", "size": '"huge"'}, "expected"),
        ({"name": "a", "width": "1", "tags": "[1]"}, "expected"),
        ({"name": "a", "width": "1", "sharp": "perhaps"}, "expected bool"),
        ({"name": "a", "width": "1", "delay": "soon"}, "delay must be a number"),
        ({"name": "a", "width": "1", "delay": "nan"}, "delay must be a number"),
        ({"name": "a", "width": "1", "priority": "0"}, "priority must be a whole number"),
        ({"name": "a", "width": "1", "priority": "1.5"}, "priority must be a whole number"),
        ({"name": "a", "width": "1", "key": "x" * 201}, "key must be a text"),
        ({"name": "a", "width": "1_0"}, "expected int"),
        ({"name": "a", "width": "\u0661"}, "expected int"),
        ({"name": "a", "width": "+1"}, "expected int"),
        ({"name": "a", "width": "1", "delay": "1_0"}, "delay must be a number"),
        ({"name": "a", "width": "1", "delay": "1_0.5"}, "delay must be a number"),
        ({"name": "a", "width": "1", "delay": "\u0661"}, "delay must be a number"),
        ({"name": "a", "width": "1", "delay": "1e2"}, "delay must be a number"),
        ({"name": "a", "width": "1", "delay": "9" * 1000}, "delay must be a number"),
        ({"name": "a", "width": "1", "priority": "1_0"}, "priority must be a whole number"),
        ({"name": "a", "width": "1", "priority": "+1"}, "priority must be a whole number"),
        ({"name": "a", "width": "1", "key": "a\nb"}, "key must not have line breaks here"),
        ({"name": "a", "width": "1", "key": "a\rb"}, "key must not have line breaks here"),
    ],
)
def test_a_wrong_form_is_shown_again_with_what_is_wrong(
    shop: Horsies, db: Session, fields: dict[str, str], shown: str
) -> None:
    answer = submit(Visitor(shop), "resize", **fields)
    assert answer.status_code == 400
    text = html.unescape(answer.text)
    assert shown in text
    assert 'value="a"' in text, "what was typed is kept"
    assert "is-wrong" in text
    assert 'action="../send/submit"' in text, "links are right below the path of the action"
    assert scalar(db, "select count(*) from horsies.tasks") == 0


def test_line_breaks_of_fields_are_those_that_were_typed(shop: Horsies, db: Session) -> None:
    """Browsers send them as CR LF, and remove them from fields of one line."""
    visitor = Visitor(shop)
    answer = submit(visitor, "resize", name="two\r\nlines", width="x")
    assert re.search(r'<textarea id="argument-1" name="arg.name"[^>]*>\n?two(&#10;|\n)lines</textarea>', answer.text)
    assert submit(visitor, "resize", name="two\r\nlines", width="1").status_code == 303
    assert scalar(db, "select args ->> 'name' from horsies.tasks") == "two\nlines"


def test_all_wrong_arguments_are_named_at_once(shop: Horsies) -> None:
    assert submit(Visitor(shop), "resize", name="a", width="x", day="y", tags="z").text.count("is-wrong") == 3


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 404),
        ({"task": "missing", "token": "x" * 20}, 404),
        ({"task": "nothing"}, 400),
        ({"task": "nothing", "token": "short"}, 400),
        ({"task": "nothing", "token": "x" * 20, "arg.other": "1"}, 400),
        ({"task": "nothing", "token": "x" * 20, "other": "1"}, 400),
        ({"task": "nothing", "token": "x" * 20, "arg.a": "x" * 12_001}, 400),
    ],
)
def test_forms_that_no_page_makes_are_refused(shop: Horsies, db: Session, fields: dict[str, str], status: int) -> None:
    assert Visitor(shop).act("/send/submit", **fields).status_code == status
    assert scalar(db, "select count(*) from horsies.tasks") == 0


def test_secret_arguments_are_not_shown_again(shop: Horsies, db: Session) -> None:
    visitor = Visitor(shop)
    assert 'type="password"' in visitor.page("/send?task=log_in")
    answer = submit(visitor, "log_in", user="ada", password="open sesame", attempts="many")
    assert answer.status_code == 400
    assert "open sesame" not in answer.text
    assert submit(visitor, "log_in", user="ada", password="open sesame", attempts="1").status_code == 303
    assert "open sesame" not in str(scalar(db, "select args::text from horsies.tasks"))


def test_nothing_is_sent_by_a_get_or_without_the_right(shop: Horsies, db: Session) -> None:
    visitor = Visitor(shop)
    query = f"task=nothing&token={token(visitor, 'nothing')}"
    assert visitor.get(f"/send/submit?{query}").status_code == 405
    assert visitor.get(f"/send?{query}").status_code == 400
    viewer = Visitor(shop, User("v", frozenset(each for each in Right if each is not Right.SEND)))
    assert 'method="post"' not in viewer.page("/send?task=nothing")
    assert viewer.act("/send/submit", task="nothing", token="x" * 20).status_code == 403
    assert scalar(db, "select count(*) from horsies.tasks") == 0


def test_the_error_of_a_send_is_shown_in_the_form(shop: Horsies, db: Session) -> None:
    visitor = Visitor(shop)
    assert submit(visitor, "once").status_code == 303
    answer = submit(visitor, "once")
    assert answer.status_code == 400
    assert "The task was not sent: DUPLICATE" in answer.text
    assert scalar(db, "select count(*) from horsies.tasks") == 1


def test_definitions_show_what_is_registered(shop: Horsies, db: Session) -> None:
    visitor = Visitor(shop)
    assert "No worker is alive" in visitor.page("/definitions")
    assert DrivenWorker(db, names=["resize", "elsewhere", "horsies.map"])
    data = Visitor(shop).get("/definitions.json").json()["data"]
    assert {each["name"]: each["workers"] for each in data["tasks"]} == {
        "log_in": 0,
        "nothing": 0,
        "once": 0,
        "resize": 1,
    }
    assert data["others"] == ["elsewhere"]
    assert "flow" in [each["title"].rpartition(".")[2] for each in data["workflows"]]
    text = Visitor(shop).page("/definitions")
    assert "width: int" in text
    assert "elsewhere" in text
    one = Visitor(shop).page("/definitions?task=resize")
    assert "log_in" not in one
    assert "declares no task" in Visitor(shop).page("/definitions?task=elsewhere")


def test_a_definition_is_drawn(shop: Horsies, define: Callable[[Horsies], type[WorkflowDefinition[int]]]) -> None:
    definition = define(shop)
    text = Visitor(shop).page("/definitions")
    assert definition.definition_key in text
    assert text.count('class="node kind-task status-declared"') >= 2
    assert "status-declared" in text


def test_a_mistake_in_one_definition_does_not_hide_the_others(
    shop: Horsies, define: Callable[[Horsies], type[WorkflowDefinition[int]]]
) -> None:
    class Unreadable(WorkflowDefinition[int]):
        name = "unreadable"
        definition_key = "test.web.unreadable.v1"

        @classmethod
        def build_with(cls, app: Horsies, lock: threading.Lock) -> WorkflowSpec[int]:
            raise NotImplementedError

    text = Visitor(shop).page("/definitions")
    assert Unreadable.definition_key in text
    assert "has the annotation lock, which cannot be represented as JSON" in text
    assert define(shop).definition_key in Visitor(shop).page("/definitions")


@pytest.fixture
def define() -> Callable[[Horsies], type[WorkflowDefinition[int]]]:
    def make(app: Horsies) -> type[WorkflowDefinition[int]]:
        @app.task("count")
        def count(number: int) -> TaskResult[int, TaskError]:
            return TaskResult(ok=number)

        class Counting(WorkflowDefinition[int]):
            name = "counting"
            definition_key = "test.web.counting.v1"
            first = count.node()(1)
            second = count.node(waits_for=[first])(2)

            class Meta:
                output = "second"

        return Counting

    return make
