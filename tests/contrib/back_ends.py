"""The back ends of the project, as its settings and the tests in this process have them."""

from typing import Any

BACKEND = "horsies.contrib.django.backend.HorsiesBackend"
TASKS: dict[str, Any] = {
    "default": {"BACKEND": BACKEND, "OPTIONS": {"app": "tests.contrib.queue.queue"}},
    "second": {"BACKEND": BACKEND, "OPTIONS": {"app": "tests.contrib.queue.queue"}},
    "mail": {"BACKEND": BACKEND, "QUEUES": ["mail"], "OPTIONS": {"app": "tests.contrib.queue.queue"}},
    "detached": {"BACKEND": BACKEND, "OPTIONS": {"app": "tests.contrib.queue.queue", "database": None}},
    "dummy": {"BACKEND": "django.tasks.backends.dummy.DummyBackend"},
}
