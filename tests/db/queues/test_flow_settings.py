"""`flow_settings`: the effective settings of queues with keys, rates or holds."""

from tests.support.flow import declare_queue, hold, rate
from tests.support.sessions import Session

QUERY = (
    "select name, turns, per_key, token_us, burst, key_token_us, key_burst, has_holds from horsies.flow_settings(%s)"
)


def test_values_of_the_run_time_take_precedence(db: Session) -> None:
    declare_queue(db, "keyed", per_key=2, rate=rate(7, 1), rate_per_key=rate(60, 60, burst=3))
    assert db.execute(QUERY, (["keyed"],)).fetchall() == [("keyed", "on", 2, 142858, 1, 1000000, 3, False)]
    db.execute("update horsies.queues set max_concurrency_per_key = 0, rate_limit = %s", (rate(10, 1, burst=5),))
    assert db.execute(QUERY, (["keyed"],)).fetchall() == [("keyed", "on", 0, 100000, 5, 1000000, 3, False)]


def test_a_lifted_limit_is_none(db: Session) -> None:
    declare_queue(db, "keyed", per_key=2, rate=rate(7, 1), rate_per_key=rate(60, 60, burst=3))
    for lifted, expected in {
        "per_key": (None, 142858, 1, 1000000, 3),
        "rate": (2, None, None, 1000000, 3),
        "rate_per_key": (2, 142858, 1, None, None),
    }.items():
        db.execute("update horsies.queues set lifted_limits = array[%s]", (lifted,))
        assert db.execute(QUERY, (["keyed"],)).fetchall() == [("keyed", "on", *expected, False)]


def test_plain_and_paused_queues_are_not_regulated_and_held_ones_are(db: Session) -> None:
    db.execute("select horsies.queue_control('paused', 'pause', null)")
    hold(db, "now() + interval '1 minute'", queue="held")
    rows = db.execute(QUERY, (["paused", "held", "plain"],)).fetchall()
    assert rows == [("held", "off", None, None, None, None, None, True)]
