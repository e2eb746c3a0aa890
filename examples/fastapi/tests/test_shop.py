"""Tests of the shop: python -m pytest."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from fastapi.testclient import TestClient

from horsies.testing import MakeQueue, TestQueue
from shop.staff import add_member
from shop.tasks import queue, shipping_cost, write_invoice
from shop.web import app

ORDER = {"email": "ada@example.org", "total": "49.00"}


@pytest.fixture
def jobs(horsies: MakeQueue) -> TestQueue:
    """The queue of the shop, in a database for this test only."""
    return horsies(queue)


@pytest.fixture
def client(jobs: TestQueue) -> Iterator[TestClient]:
    """A client of the service, which uses the database of the test."""
    with TestClient(app, base_url="http://localhost") as client:  # runs the lifespan
        yield client


def test_the_queue_is_valid() -> None:
    assert queue.check() == []


def test_the_task_writes_an_invoice() -> None:
    assert write_invoice(7, Decimal("49.00"), date(2026, 5, 1)).unwrap() == "Invoice 7 of 2026-05-01: 49.00 EUR"
    assert write_invoice(7, Decimal(0), date(2026, 5, 1)).err_value.error_code == "NOTHING_TO_PAY"


def test_an_order_gets_its_invoice(jobs: TestQueue, client: TestClient) -> None:
    answer = client.post("/orders", json=ORDER)
    assert answer.status_code == 202
    order, invoice = answer.json()["order_id"], answer.json()["invoice"]
    jobs.assert_sent(write_invoice, order, Decimal("49.00"))
    assert client.get(invoice).json() == {"status": "pending"}
    jobs.drain()
    today = datetime.now(UTC).date()
    assert client.get(invoice).json() == {"status": "done", "text": f"Invoice {order} of {today}: 49.00 EUR"}


def test_nothing_is_sent_for_an_order_that_is_not_stored(jobs: TestQueue, client: TestClient) -> None:
    jobs.disconnect(at="before")
    assert client.post("/orders", json=ORDER).status_code == 503
    jobs.assert_not_sent(write_invoice)
    assert client.get("/orders/1/invoice").status_code == 404


def test_an_invoice_survives_the_death_of_a_worker(jobs: TestQueue, client: TestClient) -> None:
    invoice = client.post("/orders", json=ORDER).json()["invoice"]
    jobs.crash(at="ran", task=write_invoice)
    jobs.advance("1 minute")  # the first retry follows after about 5 seconds
    jobs.drain()
    assert client.get(invoice).json()["status"] == "done"


def test_shipping_costs_are_computed(jobs: TestQueue, client: TestClient) -> None:
    assert jobs.run(shipping_cost, "FR", Decimal(1)).unwrap() == Decimal(14)
    with jobs.worker():  # the request waits for the result
        assert client.post("/shipping-costs", json={"country": "DE", "weight_kg": "2"}).json() == {"cost": "9"}


@pytest.mark.parametrize(("role", "status"), [("support", 403), ("operator", 303)])
def test_the_staff_sees_the_queue_and_acts_on_it(client: TestClient, role: str, status: int) -> None:
    assert client.get("/queue/tasks").status_code == 401
    password = asyncio.run(add_member("ada", role))
    login = client.get("/queue/tasks", headers={"accept": "text/html"})  # a browser is sent to the form
    assert login.url.path == "/login"
    member = {"name": "ada", "password": password, "next": login.url.params["next"]}
    assert client.post("/login", data={**member, "password": "wrong"}).status_code == 401
    page = client.post("/login", data=member)
    assert page.url.path == "/queue/tasks"
    assert "ada" in page.text
    headers = {"sec-fetch-site": "same-origin"}  # as a browser sends it with a form of the page
    action = {"data": {"queue": "default"}, "headers": headers, "follow_redirects": False}
    assert client.post("/queue/queues/pause", **action).status_code == status
    client.post("/logout")
    assert client.get("/queue/tasks").status_code == 401
