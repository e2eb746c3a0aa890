"""Small pieces of markup that have the same form on all pages."""

import json
from datetime import datetime

from markupsafe import Markup

from horsies.monitoring.counts import Accuracy, Count
from horsies.monitoring.texts import number, relative
from horsies.web.formats import duration, exact, iso, utc
from horsies.web.parameters import JSON_SUFFIX

NOTHING = "\N{EN DASH}"
"""Stands for a value that there is not."""

_TIME = Markup('<time datetime="{iso}" title="{utc} UTC"{kind}>{text}</time>')


def moment(time: datetime | None) -> Markup | str:
    """Show a time. The script shows it in the time zone of the browser."""
    return NOTHING if time is None else _TIME.format(iso=iso(time), utc=utc(time), kind="", text=utc(time))


def since(time: datetime | None, now: datetime) -> Markup | str:
    """Show how long ago a time was, or in how much time it will be. The script keeps this up to date."""
    if time is None:
        return NOTHING
    text = relative(time, now)
    return _TIME.format(iso=iso(time), utc=utc(time), kind=Markup(' data-show="since"'), text=text)


def elapsed(time: datetime | None, now: datetime) -> Markup | str:
    """Show for how long something has lasted since a time. The script keeps this up to date."""
    if time is None:
        return NOTHING
    text = duration(max((now - time).total_seconds(), 0.0))
    return _TIME.format(iso=iso(time), utc=utc(time), kind=Markup(' data-show="elapsed"'), text=text)


def aged(count: Count, now: datetime) -> Markup | str:
    """Show a number of tasks; if maintenance has counted them, with the age of that count."""
    if count.accuracy is not Accuracy.COUNTED:
        return number(count)
    return Markup('{} <small class="age">counted {}</small>').format(number(count), since(count.counted_at, now))


def short_id(task_id: str) -> Markup:
    """Show an id below the name of a task. Narrow screens show only its last part, because the first one is a time."""
    head, _, tail = task_id.rpartition("-")
    return Markup('<span class="id"><span class="id-head">{head}-</span>{tail}</span>').format(head=head, tail=tail)


def status(name: object) -> Markup:
    """Show the status of a task as a coloured label."""
    text = str(getattr(name, "value", name))
    return Markup('<span class="status is-{kind}">{text}</span>').format(kind=text.lower(), text=text.lower())


def hidden(name: str, value: str) -> Markup:
    """Make the field of a form that sends a text back as it is. Browsers change line breaks, so JSON carries those."""
    if "\n" in value or "\r" in value:
        name, value = f"{name}{JSON_SUFFIX}", json.dumps(value)
    return Markup('<input type="hidden" name="{name}" value="{value}">').format(name=name, value=exact(value))
