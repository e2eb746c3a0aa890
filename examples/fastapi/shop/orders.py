"""The endpoints."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Literal

from fastapi import APIRouter, HTTPException, Query
from pydantic import BaseModel

from horsies import Err, RetrievalCode
from shop.database import Order, Session
from shop.tasks import shipping_cost, write_invoice

router = APIRouter()


class NewOrder(BaseModel):
    """The body of a new order."""

    email: str
    total: Decimal


class Accepted(BaseModel):
    """An accepted order, and where its invoice will be."""

    order_id: int
    invoice: str


class Invoice(BaseModel):
    """The state of an invoice."""

    status: Literal["pending", "done", "failed"]
    text: str | None = None
    reason: str | None = None


class Parcel(BaseModel):
    """A parcel to be priced."""

    country: str
    weight_kg: Decimal


class Quote(BaseModel):
    """The price of a parcel."""

    cost: Decimal


@router.post("/orders", status_code=202)
async def place_order(new: NewOrder, session: Session) -> Accepted:
    """Store an order and send its task in one transaction."""
    today: date = datetime.now(UTC).date()
    async with session.begin():  # commits at the end of the block
        order = Order(email=new.email, total=new.total, ordered_on=today)
        session.add(order)
        await session.flush()  # assigns order.id
        sent = await write_invoice.with_options(connection=session).send_async(order.id, new.total, today)
        if isinstance(sent, Err):
            raise HTTPException(503, f"the order was not stored: {sent.err_value.code}")
        order.invoice_task_id = sent.ok_value.task_id
    return Accepted(order_id=order.id, invoice=f"/orders/{order.id}/invoice")


@router.get("/orders/{order_id}/invoice", response_model_exclude_none=True)
async def read_invoice(order_id: int, session: Session, wait_ms: Annotated[int, Query(ge=0, le=20_000)] = 0) -> Invoice:
    """Return the state of an invoice; with ``wait_ms``, wait for its end."""
    async with session.begin():  # ends before the wait, so that the wait holds no connection
        order = await session.get(Order, order_id)
    if order is None or order.invoice_task_id is None:
        raise HTTPException(404, "there is no such order")
    result = await write_invoice.handle(order.invoice_task_id).get_async(timeout_ms=wait_ms)
    if result.is_ok():
        return Invoice(status="done", text=result.ok_value)
    match result.err_value.error_code:
        case RetrievalCode.WAIT_TIMEOUT:
            return Invoice(status="pending")
        case RetrievalCode.TASK_NOT_FOUND:
            raise HTTPException(410, "the record of the task was pruned")
        case code:
            return Invoice(status="failed", reason=str(code))


@router.post("/shipping-costs")
async def quote_shipping(parcel: Parcel) -> Quote:
    """Run a task, and answer with its result."""
    sent = await shipping_cost.send_async(parcel.country, parcel.weight_kg)
    if isinstance(sent, Err):
        raise HTTPException(503, f"the task was not sent: {sent.err_value.code}")
    result = await sent.ok_value.get_async(timeout_ms=6_000)  # longer than the time-out of the task
    if result.is_err():
        raise HTTPException(504, f"no cost was computed: {result.err_value.error_code}")
    return Quote(cost=result.ok_value)
