"""The views. Each order and its tasks are committed together, or not at all."""

from decimal import Decimal, InvalidOperation

from django.db import connection, transaction
from django.http import HttpRequest, HttpResponseBadRequest, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST

from orders.models import Order
from orders.tasks import send_confirmation, write_invoice


@csrf_exempt  # clients are programs, not browsers with a session
@require_POST
def place_order(request: HttpRequest) -> HttpResponseBase:
    try:
        email, total = request.POST["email"], Decimal(request.POST["total"])
    except (KeyError, InvalidOperation):
        return HttpResponseBadRequest("send the fields email and total")
    with transaction.atomic():
        order = Order.objects.create(email=email, total=total)
        order.invoice_task_id = write_invoice.with_options(connection=connection).send(order.pk).unwrap().task_id
        order.email_task_id = send_confirmation.enqueue(order.pk).id  # joins the transaction by itself
        order.save(update_fields=["invoice_task_id", "email_task_id"])
    return JsonResponse({"order": order.pk, "url": f"/orders/{order.pk}/"}, status=202)


@require_GET
def show_order(_request: HttpRequest, order_id: int) -> JsonResponse:
    order = get_object_or_404(Order, pk=order_id)
    invoice = write_invoice.handle(str(order.invoice_task_id)).info().unwrap()
    confirmation = send_confirmation.get_result(str(order.email_task_id))
    return JsonResponse(
        {
            "order": order.pk,
            "invoice": invoice.status if invoice is not None else "UNKNOWN",
            "invoice_number": order.invoice_number,
            "confirmation": confirmation.status,
        }
    )
