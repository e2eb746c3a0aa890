"""`sent`, `assert_sent` and their messages."""

from dataclasses import replace
from typing import Any

import pytest

from horsies.testing import TestQueue
from tests.testing.shop import Address, Order, add, add_async, app, chain, fails_twice, send_email, ship, slow


class Anything:
    """Equal to everything, as `unittest.mock.ANY` is."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return True


ORDER = Order(7, ["tea", "milk"])
ADDRESS = Address(city="Bern", street="Kramgasse")


def message(queue: TestQueue, task: Any, *args: Any, **kwargs: Any) -> list[str]:
    with pytest.raises(AssertionError) as caught:
        queue.assert_sent(task, *args, **kwargs)
    return str(caught.value).splitlines()


def test_sent_tasks_have_decoded_arguments(queue: TestQueue) -> None:
    ship.with_options(priority=3).send(ORDER, ADDRESS).unwrap()
    [sent] = queue.sent()
    assert (sent.task_name, sent.queue, sent.priority, sent.status) == ("ship", "default", 3, "PENDING")
    assert sent.args == {"order": ORDER, "address": ADDRESS}
    assert sent.run_at == sent.sent_at


def test_sent_tasks_can_be_selected(queue: TestQueue) -> None:
    send_email.send("ann@example.org").unwrap()
    send_email.send("bob@example.org", subject="Bye").unwrap()
    add.send(1).unwrap()
    assert len(queue.sent()) == 3
    assert [each.args["to"] for each in queue.sent(send_email)] == ["ann@example.org", "bob@example.org"]
    assert [each.args["to"] for each in queue.sent(send_email, subject="Bye")] == ["bob@example.org"]
    assert [each.args["to"] for each in queue.sent(send_email, subject="Hello")] == ["ann@example.org"]


def test_assertions_that_hold(queue: TestQueue) -> None:
    send_email.send("ann@example.org").unwrap()
    send_email.send("ann@example.org", headers={"a": "b"}).unwrap()
    ship.send(ORDER, ADDRESS).unwrap()
    queue.assert_sent(send_email, "ann@example.org", count=2)
    queue.assert_sent(send_email, to="ann@example.org", headers={"a": "b"})
    queue.assert_sent(send_email, Anything(), subject="Hello", count=None)
    queue.assert_sent(ship, ORDER)
    queue.assert_sent(ship, address=ADDRESS)
    queue.assert_not_sent(add)
    queue.assert_not_sent(send_email, "bob@example.org")


def test_the_nearest_comes_first_with_its_differences(queue: TestQueue) -> None:
    send_email.send("bob@example.org", subject="Bye").unwrap()
    send_email.send("ann@example.org", subject="Bye", headers={"x": "1", "y": "2"}).unwrap()
    add.send(1).unwrap()
    assert message(queue, send_email, "ann@example.org", subject="Bye", headers={"x": "1", "y": "3"}) == [
        "send_email(to='ann@example.org', subject='Bye', headers={'x': '1', 'y': '3'})",
        "was expected once, but was never sent.",
        "",
        "send_email was sent twice, the nearest first:",
        "  1. send_email(to='ann@example.org', subject='Bye', headers={'x': '1', 'y': '2'})  [PENDING]",
        "       headers['y']: expected '3'",
        "                     but was  '2'",
        "  2. send_email(to='bob@example.org', subject='Bye')  [PENDING]",
        "       differs in to, headers",
        "",
        "Other tasks that were sent:",
        "  add: once",
    ]


def test_models_are_compared_field_by_field_and_long_values_are_cut(queue: TestQueue) -> None:
    ship.send(ORDER, ADDRESS, note="x" * 90 + "late" + "y" * 90).unwrap()
    wanted = replace(ORDER, items=["tea", "honey"])
    shown = message(queue, ship, wanted, Address(city="Basel", street="Kramgasse"), note="x" * 90 + "soon" + "y" * 90)
    assert shown[5:] == [
        "       order.items[1]: expected 'honey'",
        "                       but was  'milk'",
        "       address.city: expected 'Basel'",
        "                     but was  'Bern'",
        "       note: expected …" + "x" * 20 + "soon" + "y" * 40 + "…",
        "             but was  …" + "x" * 20 + "late" + "y" * 40 + "…",
    ]


def test_a_wrong_count_and_an_empty_queue(queue: TestQueue) -> None:
    assert message(queue, add, 1) == ["add(a=1) was expected once, but was never sent.", "No task was sent at all."]
    add.send(1).unwrap()
    add.send(1).unwrap()
    assert message(queue, add, 1)[0] == "add(a=1) was expected once, but was sent twice."
    assert message(queue, send_email, count=None)[0] == "send_email was expected at least once, but was never sent."
    with pytest.raises(AssertionError, match=r"^add was expected not to be sent, but was sent twice"):
        queue.assert_not_sent(add)


def test_wrong_parameters_are_no_failed_assertions(queue: TestQueue) -> None:
    with pytest.raises(
        TypeError, match="send_email has no parameter 'recipient'; its parameters: to, subject, headers"
    ):
        queue.assert_sent(send_email, recipient="ann@example.org")
    with pytest.raises(TypeError, match="takes 2 positional arguments, and 3 are expected"):
        queue.assert_sent(add, 1, 2, 3)
    with pytest.raises(TypeError, match="'a' is expected twice"):
        queue.assert_sent(add, 1, a=2)
    with pytest.raises(TypeError, match="send_email has no parameter 'nope'; its parameters: to"):
        queue.sent(send_email, nope=1)
    with pytest.raises(TypeError, match=r"no task of the app has a parameter 'nope'; there are: .*\bsubject\b"):
        queue.sent(nope=1)


@pytest.mark.parametrize("count", [-1, "2", True, 1.0])
def test_a_count_is_a_number_of_tasks(queue: TestQueue, count: Any) -> None:
    with pytest.raises(ValueError, match="takes count=0 or more, or None for at least once, got"):
        queue.assert_sent(add, count=count)


@pytest.mark.parametrize("method", ["sent", "assert_sent", "assert_not_sent", "run"])
def test_a_task_is_no_name(queue: TestQueue, method: str) -> None:
    with pytest.raises(TypeError, match=f"{method} takes a task, a function that is decorated .* got 'add'"):
        getattr(queue, method)("add")


def test_all_tasks_are_selected_by_arguments_with_their_defaults(queue: TestQueue) -> None:
    send_email.send("ann@example.org").unwrap()
    add.send(1).unwrap()
    assert [each.task_name for each in queue.sent(subject="Hello")] == ["send_email"]
    assert [each.task_name for each in queue.sent(b=1)] == ["add"]


def test_a_task_that_is_sent_too_often_is_shown_without_others(queue: TestQueue) -> None:
    send_email.send("ann@example.org").unwrap()
    send_email.send("bob@example.org").unwrap()
    with pytest.raises(AssertionError) as caught:
        queue.assert_not_sent(send_email, "ann@example.org")
    assert str(caught.value).splitlines() == [
        "send_email(to='ann@example.org') was expected not to be sent, but was sent once.",
        "",
        "send_email was sent once with these arguments:",
        "  1. send_email(to='ann@example.org')  [PENDING]",
    ]


def test_equal_texts_are_shown_with_their_types(queue: TestQueue) -> None:
    add.send(1).unwrap()
    assert message(queue, add, Alike())[-2:] == ["       a: expected Alike 1", "          but was  int 1"]


class Alike:
    def __repr__(self) -> str:
        return "1"


LONG = {f"header-{number}": "x" * 10_000 for number in range(30)}


@pytest.mark.parametrize(
    ("task", "kwargs"),
    [
        (send_email, {}),
        (send_email, {"to": "nobody", "subject": "y" * 10_000}),
        (send_email, {"to": "x", "count": 0}),
        (send_email, {"to": "x" * 10_000, "headers": dict.fromkeys(LONG, "y" * 10000)}),
        (send_email, {"count": 7}),
        (send_email, {"to": "x", "count": None, "headers": {"z" * 300: "\n" * 10_000}}),
        (ship, {"order": Order(1, ["x" * 10_000] * 40), "address": Address(city="x" * 10_000, street="y")}),
    ],
)
def test_every_message_fits_on_one_screen(full_queue: TestQueue, task: Any, kwargs: dict[str, Any]) -> None:
    shown = message(full_queue, task, **kwargs)
    assert len(shown) <= 24
    assert max(map(len, shown)) <= 100


@pytest.fixture
def full_queue(queue: TestQueue) -> TestQueue:
    calls = [send_email.args("x", f"subject {number}") for number in range(1000)]
    calls += [send_email.args("y" * number * 100, "y" * 9_999, headers=LONG) for number in range(3)]
    app.send_many(calls).unwrap()
    ship.send(Order(1, ["y" * 10_000] * 30), Address(city="Bern", street="y" * 10_000), note="z" * 10_000).unwrap()
    for sent in (add.send(1), add_async.send(1), chain.send(1), fails_twice.send(), slow.send(1)):
        sent.unwrap()
    return queue
