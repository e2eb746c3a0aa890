"""The Django example of docs/transactions.md works in a Django project."""

import subprocess
import sys
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.docs.test_documents import ROOT, blocks
from tests.support.callers import OLDEST_FOR_DJANGO
from tests.support.environment import URL_VARIABLE
from tests.support.sessions import column, open_session
from tests.support.workers import clean_environment

PAGE = ROOT / "docs" / "transactions.md"
SETTINGS = """
DATABASES = {{"default": {{"ENGINE": "django.db.backends.postgresql", **{place!r}}}}}
INSTALLED_APPS = ["orders"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
"""
MODELS = """
from django.db import models


class Order(models.Model):
    address = models.TextField()
"""
START = """
import django

django.setup()
"""
PROGRAM = """
with connection.schema_editor() as editor:
    editor.create_model(Order)
print(place_order("ada@example.org"))
try:
    with transaction.atomic():
        place_order("bob@example.org")
        raise LookupError
except LookupError:
    pass
print(*Order.objects.values_list("address", flat=True))
"""


@pytest.mark.timeout(120)
def test_the_django_example_stores_order_and_task_together(tmp_path: Path, tcp_database_url: str) -> None:
    with open_session(tcp_database_url) as db:
        if db.info.server_version < OLDEST_FOR_DJANGO:
            pytest.skip("this Django needs a newer PostgreSQL")
    parts = conninfo_to_dict(tcp_database_url)
    names = {"dbname": "NAME", "user": "USER", "password": "PASSWORD", "host": "HOST", "port": "PORT"}
    [example] = blocks(PAGE, "python django")
    (tmp_path / "orders").mkdir()
    for name, text in {
        "settings.py": SETTINGS.format(place={names[key]: str(value) for key, value in parts.items() if key in names}),
        "orders/__init__.py": "",
        "orders/models.py": MODELS,
        "shop.py": "\n".join(blocks(PAGE, "python")),
        "program.py": START + example + PROGRAM,
    }.items():
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        env=clean_environment(DJANGO_SETTINGS_MODULE="settings", **{URL_VARIABLE: tcp_database_url}),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    task_id, *addresses = done.stdout.split()
    assert addresses == ["ada@example.org"]
    with open_session(tcp_database_url) as db:
        assert [str(each) for each in column(db, "select id from horsies.tasks")] == [task_id]
