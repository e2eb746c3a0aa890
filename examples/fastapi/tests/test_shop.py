"""Tests of the shop: python -m pytest tests."""

import subprocess
from collections.abc import Iterator
from datetime import date
from decimal import Decimal

import pytest
from fastapi.testclient import TestClient

from shop.tasks import queue, write_invoice
from shop.web import app

ORDER = {"email": "ada@example.org", "total": "49.00"}


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(app) as client:  # runs the lifespan
        yield client


@pytest.fixture(scope="session")
def worker() -> Iterator[None]:
    process = subprocess.Popen(["horsies", "worker", "shop.tasks:queue"])
    yield
    process.terminate()
    assert process.wait(timeout=30) == 0


def test_the_queue_is_valid() -> None:
    assert queue.check() == []


def test_the_task_writes_an_invoice() -> None:
    assert write_invoice(7, Decimal("49.00"), date(2026, 5, 1)).unwrap() == "Invoice 7 of 2026-05-01: 49.00 EUR"
    assert write_invoice(7, Decimal(0), date(2026, 5, 1)).err_value.error_code == "NOTHING_TO_PAY"


def test_an_order_is_accepted(client: TestClient) -> None:
    answer = client.post("/orders", json=ORDER)
    assert answer.status_code == 202
    assert client.get(answer.json()["invoice"]).json()["status"] in {"pending", "done"}
    assert client.get("/orders/0/invoice").status_code == 404


@pytest.mark.usefixtures("worker")
def test_an_order_gets_its_invoice(client: TestClient) -> None:
    order = client.post("/orders", json=ORDER).json()
    invoice = client.get(order["invoice"], params={"wait_ms": 20_000}).json()
    assert invoice["status"] == "done"
    assert invoice["text"].startswith(f"Invoice {order['order_id']} of ")


@pytest.mark.usefixtures("worker")
def test_shipping_costs_are_computed(client: TestClient) -> None:
    assert client.post("/shipping-costs", json={"country": "DE", "weight_kg": "2"}).json() == {"cost": "9"}
