"""Command lines in the style of Celery are answered with the equivalent command."""

from pathlib import Path

import pytest

from horsies.cli.celery import translate_celery
from tests.support.commands import horsies


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("-A shop worker", "horsies worker shop:app"),
        ("-A shop.main:queue worker", "horsies worker shop.main:queue"),
        ("--app=shop worker --loglevel=info", "horsies worker shop:app --loglevel=INFO"),
        (
            "worker -A shop -l info -c 4 -Q mail,web",
            "horsies worker shop:app --loglevel=INFO --processes=4 --queues=mail,web",
        ),
        ("-Ashop worker -B -c8", "horsies worker shop:app --scheduler --processes=8"),
        ("-A shop beat -l debug", "horsies scheduler shop:app"),
        ("-A shop inspect active", "horsies workers shop:app"),
        ("worker shop:app --processes=4", None),
        ("send shop:app mail -A", None),
        ("-A shop", "horsies worker shop:app"),
        ("--app=shop:queue -l info", "horsies worker shop:queue --loglevel=INFO"),
        ("-A", "horsies worker MODULE:app"),
        ("-A shop purge", None),
    ],
)
def test_a_command_of_celery(typed: str, meant: str | None) -> None:
    assert translate_celery(typed.split()) == meant


def test_an_option_without_a_command_is_answered_too(tmp_path: Path) -> None:
    done = horsies(tmp_path, "-A", "shop")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("Write:\n\n  horsies worker shop:app\n")


def test_the_answer_is_wrong_usage_and_names_the_command(tmp_path: Path) -> None:
    done = horsies(tmp_path, "-A", "shop", "worker", "--loglevel=info")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("Write:\n\n  horsies worker shop:app --loglevel=INFO\n")
