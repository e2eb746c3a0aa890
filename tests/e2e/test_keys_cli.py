"""``horsies queues limit`` and ``horsies keys``, and the same by the broker object."""

import asyncio
from typing import Any

import pytest

from horsies import NO_LIMIT, AppConfig, BrokerErrorCode, Horsies, PostgresConfig
from horsies.config.rates import RateLimit
from tests.support.sessions import SCHEMA
from tests.support.shell import Shell

APP = f"""
from horsies import *
queues = [CustomQueueConfig(name="mail"), CustomQueueConfig(name="bulk")]
app = Horsies(AppConfig(
    broker=PostgresConfig(schema={SCHEMA!r}), queue_mode=QueueMode.CUSTOM, custom_queues=queues))
"""


@pytest.fixture
def keyed(shell: Shell) -> Shell:
    """An app whose queue ``mail`` is keyed."""
    (shell.folder / "shop.py").write_text(APP)
    shell.session.execute("insert into horsies.queues (name, turns, declared_per_key) values ('mail', 'on', 4)")
    return shell


def limits(shell: Shell, *options: str) -> dict[str, Any]:
    found: Any = shell.json("queues", "limit", "shop:app", "mail", *options)
    return found


def test_limits_and_keys_by_the_command_line(keyed: Shell) -> None:
    assert limits(keyed) == {
        "name": "mail",
        "is_keyed": True,
        "per_key": 4,
        "rate": None,
        "rate_per_key": None,
        "set_at_run_time": [],
        "set_by": None,
        "set_at": None,
    }
    changed = limits(keyed, "--per-key=2", "--rate=100/1m", "--rate-per-key=10/s,burst=3")
    assert (changed["per_key"], changed["rate"]) == (2, "100/60s,burst=10")
    assert changed["rate_per_key"] == "10/1s,burst=3"
    assert "@" in changed["set_by"]
    text = keyed.run("queues", "limit", "shop:app", "mail", "--rate=declared").stdout
    assert "set_at_run_time  per_key, rate_per_key" in text
    assert "rate             " not in text
    assert limits(keyed, "--per-key=none")["per_key"] is None
    assert "per_key          none\n" in keyed.run("queues", "limit", "shop:app", "mail").stdout
    refused = keyed.run("queues", "limit", "shop:app", "bulk", "--per-key=2", code=1).stderr
    assert "queue 'bulk' is not keyed" in refused
    assert "HRS-206" in refused
    for wrong, why in [("--rate=fast", "is not a rate"), ("--per-key=-1", "is not a number"), ("--rate=0/s", "rate")]:
        assert why in keyed.run("queues", "limit", "shop:app", "mail", wrong, code=2).stderr
    assert "queue mail has no keys" in keyed.run("keys", "list", "shop:app", "mail").stderr
    pause = ("keys", "pause", "shop:app", "mail", "tenant-7", "--reason=overdue")
    assert keyed.run(*pause).stdout == "key 'tenant-7' is paused\n"
    assert keyed.run(*pause).stdout == "key 'tenant-7' was paused before\n"
    [found] = keyed.json("keys", "list", "shop:app", "mail")
    assert (found["key"], found["held_by"], found["reason"], found["held_until"]) == (
        "tenant-7",
        "paused",
        "overdue",
        None,
    )
    assert "tenant-7" in keyed.run("keys", "list", "shop:app", "mail").stdout
    keyed.session.execute("update horsies.queues set turns = 'off'")
    left = keyed.run("keys", "list", "shop:app", "mail")
    assert "tenant-7" in left.stdout
    assert "queue mail is not keyed: these holds have no effect" in left.stderr
    resume = ("keys", "resume", "shop:app", "mail", "tenant-7")
    assert keyed.run(*resume).stdout == "key 'tenant-7' is resumed\n"
    assert keyed.run(*resume).stdout == "nothing held the key 'tenant-7'\n"
    assert "the app has no queue 'mial'" in keyed.run("keys", "list", "shop:app", "mial", code=1).stderr


def test_the_broker_has_the_same_methods(keyed: Shell) -> None:
    app = Horsies(AppConfig(broker=PostgresConfig(database_url=keyed.url, schema=SCHEMA)))
    broker, rate = app.get_broker(), RateLimit(limit=5, per_seconds=1)

    async def in_a_loop() -> None:
        assert (await broker.limit_queue_async("mail", rate=rate)).unwrap() is False
        assert (await broker.get_queue_limits_async("mail")).unwrap() == broker.get_queue_limits("mail").unwrap()
        assert (await broker.pause_key_async("mail", "b")).unwrap() is True
        assert (await broker.get_keys_async("mail", after="a")).unwrap()[0].key == "b"
        assert (await broker.resume_key_async("mail", "b")).unwrap() is True
        await app.close_async()

    try:
        assert broker.limit_queue("mail", rate=rate, who="ada").unwrap() is True
        assert broker.get_queue_limits("mail").unwrap().set_by == "ada"
        assert broker.limit_queue("mail", per_key=NO_LIMIT).unwrap() is True
        assert broker.get_queue_limits("mail").unwrap().per_key is None
        assert broker.limit_queue("mail", per_key=None).unwrap() is True
        assert broker.pause_key("mail", "a", reason="overdue", who="ada").unwrap() is True
        [found] = broker.get_keys("mail").unwrap()
        assert (found.key, found.who, found.reason) == ("a", "ada", "overdue")
        assert broker.pause_key("bulk", "a").unwrap_err().code is BrokerErrorCode.QUEUE_NOT_KEYED
        assert broker.limit_queue("bulk", per_key=1).unwrap_err().code is BrokerErrorCode.QUEUE_NOT_KEYED
        assert broker.limit_queue("mail", per_key=-1).is_err()
        wrong: Any  # a limit of a wrong type is refused, and does not restore the declared limit
        for wrong in ({"rate": "100/60s"}, {"rate_per_key": 5}, {"per_key": "2"}, {"per_key": 2.0}, {"per_key": True}):
            assert broker.limit_queue("mail", **wrong).is_err()
        assert broker.get_queue_limits("mail").unwrap().set_at_run_time == ("rate",)
        assert broker.pause_key("mail", "x" * 201).is_err()
        assert broker.get_keys("mail", limit=0).is_err()
        asyncio.run(in_a_loop())
    finally:
        app.close()
