"""The page of the system: the findings of `horsies doctor`, each problem with its remedy."""

import asyncio

import pytest

from horsies import Horsies
from horsies.monitoring import diagnose, diagnose_async
from horsies.web.pages.system import _ABOUT
from tests.support.factories import DrivenWorker, request, send
from tests.support.sessions import Session
from tests.support.web import Visitor, open_app


def test_what_was_looked_at(visitor: Visitor, db: Session) -> None:
    assert DrivenWorker(db)
    data = visitor.get("/system.json").json()["data"]
    names = {each["name"] for each in data["others"]}
    assert {"schema", "dead rows", "partitions", "workers", "declarations"} <= names
    assert all(each["fix"] is None for each in data["others"])
    assert {each["about"] for each in data["others"]} <= set(_ABOUT.values())
    assert "horsies doctor" in visitor.page("/system")


def test_a_problem_comes_with_its_remedy(visitor: Visitor, db: Session) -> None:
    send(db, request(name="<b>nobody</b>"))
    data = visitor.get("/system.json").json()["data"]
    [problem] = [each for each in data["problems"] if each["name"] == "unclaimable"]
    assert problem["fix"].startswith("start a worker that has these tasks")
    text = visitor.page("/system")
    assert "start a worker that has these tasks" in text
    assert "<b>nobody" not in text
    assert "All is well" not in text


def test_an_outdated_schema_is_a_problem(visitor: Visitor, db: Session) -> None:
    db.execute("drop function horsies.backlog")
    assert "horsies db repair" in visitor.page("/system")


def test_the_same_findings_for_asyncio(app: Horsies) -> None:
    found = [each.look for each in diagnose(app.get_broker()).unwrap()]
    assert [each.look for each in asyncio.run(diagnose_async(app.get_broker())).unwrap()] == found
    assert len(found) > 8


@pytest.mark.parametrize("path", ["/system", "/system.json"])
def test_without_a_database(path: str) -> None:
    assert not diagnose(open_app().get_broker()).is_ok()
    answer = Visitor(open_app()).get(path)
    assert answer.status_code == 503
    assert "does not answer" in answer.text
