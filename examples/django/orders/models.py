"""The business tables."""

from django.db import models


class Order(models.Model):
    """An order. The ids of its tasks are stored with it, so that no client can ask for the tasks of others."""

    email = models.EmailField()
    total = models.DecimalField(max_digits=10, decimal_places=2)
    invoice_number = models.CharField(max_length=20, blank=True)
    invoice_task_id = models.UUIDField(null=True)
    email_task_id = models.UUIDField(null=True)

    def __str__(self) -> str:
        return f"order {self.pk}"
