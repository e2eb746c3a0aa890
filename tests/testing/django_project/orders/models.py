from django.db import models


class Customer(models.Model):
    name = models.CharField(max_length=100)


class Order(models.Model):
    customer = models.ForeignKey(Customer, null=True, on_delete=models.CASCADE)
    number = models.IntegerField(unique=True)
    status = models.CharField(max_length=20, default="placed")
