"""`sent`, `assert_sent` and their messages."""

from dataclasses import replace
from typing import Any

import pytest

from horsies.testing import TestQueue
from tests.testing.shop import Address, Order, add, send_email, ship


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
        (
            "send_email(to='ann@example.org', subject='Bye', headers={'x': '1', 'y': '3'}) was expected once, "
            "but was never sent."
        ),
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
    assert shown[4:] == [
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
