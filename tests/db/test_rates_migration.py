"""The migration to `rates`: buckets keep their tokens."""

import pytest

from horsies.db.migrate import migrate
from horsies.db.sqlfiles import DEFAULT_SCHEMA
from tests.db.test_replica_identity import install
from tests.support.flow import rate
from tests.support.sessions import Session, column

BEFORE = 46
_QUEUES = """
    insert into horsies.queues (name, turns, declared_rate, declared_rate_per_key, rate_limit, lifted_limits)
    values ('declared', 'on', %(slow)s, %(slow)s, null, '{}'), ('changed', 'off', %(slow)s, null, %(fast)s, '{}'),
           ('lifted', 'on', %(slow)s, %(slow)s, null, '{rate,rate_per_key}'),
           ('ending', 'ending', null, %(slow)s, null, '{}')
"""
_BUCKETS = """
    insert into horsies.buckets
    select q.name, s.scope, s.key, clock_timestamp() + s.seconds * interval '1 second'
    from horsies.queues q,
         (values ('queue', '', 3600), ('key', 'a', 7200), ('key', 'full', -1)) as s (scope, key, seconds)
"""
_MISSING = """
    select b.queue || ' ' || b.scope || ' ' || round((b.used_to - r.full_from) / 1e9, 1)
    from horsies.buckets b cross join lateral horsies.rate_at(b.queue, b.scope, horsies.now()) as r order by 1
"""


@pytest.fixture
def outdated(db: Session) -> Session:
    """A session of a database that has the tables of the previous version."""
    db.execute("drop schema horsies cascade")
    install(db, BEFORE)
    return db


def test_buckets_keep_their_tokens(outdated: Session) -> None:
    """Slow is a token in 720 s, fast one in 72 s: a bucket that is full in an hour misses 5 or 50 tokens."""
    outdated.execute(_QUEUES, {"slow": rate(5, 3600, burst=20), "fast": rate(50, 3600, burst=90)})
    outdated.execute(_BUCKETS)
    migrate(outdated, DEFAULT_SCHEMA)
    assert column(outdated, _MISSING) == ["changed queue 50.0", "declared key 10.0", "declared queue 5.0"]
    assert column(outdated, "select count(*) from horsies.buckets") == [3], "others were full"
    assert column(outdated, "select queue || ' ' || scope from horsies.rates order by 1") == [
        "changed queue", "declared key", "declared queue"
    ]  # fmt: skip
