"""The URLs of the project. Those below /queue/ are in asgi.py."""

from django.contrib import admin
from django.urls import path

from orders.views import place_order, show_order

urlpatterns = [
    path("admin/", admin.site.urls),
    path("orders/", place_order),
    path("orders/<int:order_id>/", show_order),
]
