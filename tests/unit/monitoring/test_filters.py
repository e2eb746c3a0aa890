"""The filter language: what it accepts, and how mistakes are shown."""

import json
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from horsies.monitoring.filters import FilterField, FilterMistake, FilterTerm, TaskQuery, literal_pattern, parse_filter

ID = "01931c2e-5b7e-7c3a-9d0e-2f4a5b6c7d8e"


def terms(text: str) -> list[tuple[str, str, bool]]:
    return [(each.field.value, each.value, each.is_negated) for each in parse_filter(text).unwrap().terms]


def mistake(text: str) -> FilterMistake:
    return parse_filter(text).unwrap_err()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("  \t ", []),
        ("status:failed", [("status", "FAILED", False)]),
        ("STATUS:Failed", [("status", "FAILED", False)]),
        ("-status:completed", [("status", "COMPLETED", True)]),
        ("queue:mail  task:send_*", [("queue", "mail", False), ("task", r"send\_%", False)]),
        ("task:pkg.mod:fn", [("task", "pkg.mod:fn", False)]),
        ('key:"tenant 7"', [("key", "tenant 7", False)]),
        ('key:"a*b"*', [("key", "a*b%", False)]),
        (r'key:"say \"hi\" \\"', [("key", r'say "hi" \\', False)]),
        ("key:100%_", [("key", r"100\%\_", False)]),
        ("worker:host-1:4711", [("worker", "host-1:4711", False)]),
        (f"id:{ID.upper()}", [("id", ID, False)]),
        (f"-run:{ID}", [("run", ID, True)]),
        ("since:2h", [("since", "7200", False)]),
        ("since:90min until:30s", [("since", "5400", False), ("until", "30", False)]),
        ("since:2026-11-25", [("since", "2026-11-25T00:00:00+00:00", False)]),
        ("until:2026-11-25T20:52+02:00", [("until", "2026-11-25T18:52:00+00:00", False)]),
        ("error:TIMEOUT -error:TASK_*", [("error", "TIMEOUT", False), ("error", r"TASK\_%", True)]),
    ],
)
def test_filters(text: str, found: list[tuple[str, str, bool]]) -> None:
    assert terms(text) == found


@pytest.mark.parametrize(
    ("text", "marked", "message", "fix"),
    [
        ("status:failed quue:mail", "quue", "there is no field 'quue'", "did you mean 'queue'?"),
        ("-quue:mail", "quue", "there is no field 'quue'", "did you mean 'queue'?"),
        ("name:add", "name", "there is no field 'name'", "did you mean 'task'?"),
        ("xyzzy:add", "xyzzy", "there is no field 'xyzzy'", "fields: status, queue, task, "),
        ("send_mail", "send_mail", "'send_mail' has no field", "for example task:send_mail"),
        ("status:failed -", "-", "'' has no field", "for example task:NAME"),
        (":x", ":", "there is no field ''", "fields: status"),
        ("status:faild", "faild", "there is no status 'faild'", "did you mean 'failed'?"),
        ("queue: mail", "queue", "'queue' has no value", "queue:VALUE"),
        ('queue:mail key:"a b', '"a b', "the value has no closing quote", "at its end"),
        ("id:12", "12", "'12' is not an id", "UUID"),
        ("since:soon", "soon", "'soon' is neither a duration nor a time", "2h"),
        ("since:99999999999w", "99999999999w", "'99999999999w' is longer than 100 years", "7d"),
        ("since:2h since:3h", "since", "'since' is given twice", "keep one"),
        ("-since:2h", "since", "'since' cannot be negated", "write until:2h"),
        ("-until:2h", "until", "'until' cannot be negated", "write since:2h"),
        ("key:a\0b", "a\0b", "a value cannot contain the character NUL", "remove it"),
    ],
)
def test_a_mistake_has_its_place_and_the_fix(text: str, marked: str, message: str, fix: str) -> None:
    found = mistake(text)
    assert found.message == message
    assert fix in found.help_text
    assert text[found.start : found.start + found.length] == marked
    line, carets = found.marked().split("\n")
    assert len(line) == len(text)
    assert carets == " " * found.start + "^" * found.length


def test_a_mistake_is_marked_in_the_filter() -> None:
    assert str(mistake("status:failed quue:mail")).splitlines()[:3] == [
        "there is no field 'quue'",
        "status:failed quue:mail",
        "              ^^^^",
    ]


def test_long_filters_are_refused() -> None:
    assert "characters; 2,000 are allowed" in mistake("key:" + "x" * 2000).message
    assert mistake("key:x " * 51).message == "the filter has more than 50 terms"
    assert len(parse_filter("key:x " * 50).unwrap().terms) == 50


def test_the_document_of_a_query() -> None:
    document = json.loads(parse_filter("status:failed -queue:a* since:1h until:2026-11-25").unwrap().document())
    assert document["status"] == ["FAILED"]
    assert document["not_queue"] == ["a%"]
    assert document["since_ago"] == "3600"
    assert document["until_time"] == "2026-11-25T00:00:00+00:00"
    assert "since_time" not in document
    assert document["key"] == document["not_key"] == []


@given(st.text())
def test_any_text_is_a_query_or_a_mistake_inside_of_it(text: str) -> None:
    parsed = parse_filter(text)
    if parsed.is_err():
        assert 0 <= parsed.err_value.start < max(len(text), 1)
        assert parsed.err_value.start + parsed.err_value.length <= max(len(text), 1)
        assert parsed.err_value.help_text
    else:
        assert json.loads(parsed.ok_value.document())


@given(st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=50))
def test_every_text_can_be_quoted(text: str) -> None:
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    [term] = parse_filter(f'key:"{quoted}"').unwrap().terms
    assert term == FilterTerm(FilterField.KEY, literal_pattern(text))


def test_an_id_of_any_form_is_the_same_id() -> None:
    assert terms(f"id:{UUID(ID).hex}") == [("id", ID, False)]
    assert TaskQuery().terms == ()
