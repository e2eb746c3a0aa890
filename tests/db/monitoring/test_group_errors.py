"""`group_errors`: combinations get groups, within limits, and the same combination always gets the same one."""

import json
from collections import Counter
from datetime import timedelta
from typing import Any

from tests.support.factories import numbered_id
from tests.support.sessions import NOON, Session, scalar


def combination(message: str, *, frame: str = "mail.py in send", code: str = "BOOM", minute: int = 0) -> dict[str, Any]:
    at = (NOON + timedelta(minutes=minute)).isoformat()
    return {"task_name": "add", "error_code": code, "frame": frame, "message": message, "first_seen": at,
            "last_seen": at, "example_id": str(numbered_id(minute))}  # fmt: skip


def group(db: Session, *given: dict[str, Any]) -> dict[tuple[str, str, str], int]:
    rows = db.execute(
        "select error_code, frame, message, group_id from horsies.group_errors(%s)", (json.dumps(given),)
    ).fetchall()
    assert len(rows) == len(given)
    return {(row[0], row[1], row[2]): row[3] for row in rows}


def groups(db: Session) -> list[tuple[Any, ...]]:
    return db.execute(
        "select error_code, frame, message, is_other from horsies.error_groups order by is_other, id"
    ).fetchall()


def test_a_group_records_its_first_and_last_failure_in_any_order(db: Session) -> None:
    for minute in (5, 9, 2):
        [found] = group(db, combination("no", minute=minute)).values()
    row = db.execute("select id, first_seen, last_seen, example_id from horsies.error_groups").fetchall()
    minutes = [NOON + timedelta(minutes=minute) for minute in (2, 9)]
    assert row == [(found, *minutes, numbered_id(9))]


def test_a_place_has_at_most_twenty_messages_of_one_code(db: Session) -> None:
    first = group(db, *(combination(f"message {chr(97 + n)}", minute=n) for n in range(26)))
    assert max(Counter(first.values()).values()) == 6
    assert [row for row in groups(db) if row[3]] == [("BOOM", "mail.py in send", "other", True)]
    assert len(groups(db)) == 21
    again = group(db, *(combination(f"message {chr(97 + n)}") for n in reversed(range(26))), combination("new"))
    assert {key: again[key] for key in first} == first
    assert again["BOOM", "mail.py in send", "new"] == first["BOOM", "mail.py in send", "message z"]
    group(db, combination("message", code="BANG"), combination("message", frame="web.py in get"))
    assert len(groups(db)) == 23, "other codes and places have their own twenty"


def test_a_message_named_other_is_not_the_group_of_the_others(db: Session) -> None:
    given = [combination("other"), *(combination(f"message {chr(97 + n)}", minute=1 + n) for n in range(25))]
    found = group(db, *given)
    assert found["BOOM", "mail.py in send", "other"] != found["BOOM", "mail.py in send", "message y"]


def test_a_task_has_at_most_a_thousand_groups(db: Session) -> None:
    given = [combination(f"{n}", frame=f"f{n // 30}", code=f"C{n % 2}", minute=n // 100) for n in range(4000)]
    found = group(db, *given)
    assert len(set(found.values())) == len(groups(db)) <= 1000
    assert [row for row in groups(db) if row[3] and row[0] == "other"] == [("other", "", "other", True)]
    assert group(db, *given[::-1]) == found
    [of_another_task] = db.execute(
        "select group_id from horsies.group_errors(%s)", (json.dumps([combination("no") | {"task_name": "b"}]),)
    ).fetchall()
    assert of_another_task[0] not in set(found.values())


def test_properties_that_are_too_long_for_an_index(db: Session) -> None:
    long = "\N{GRINNING FACE}" * 200
    [found] = group(db, combination(long, frame=long, code=long)).values()
    assert scalar(db, "select message from horsies.error_groups where id = %s", found) == long
