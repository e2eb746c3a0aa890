"""The checker of limits of keys finds each kind of violation, and nothing where there is none."""

import pytest

from horsies import RateLimit
from tests.chaos.key_checker import Event, KeyEvidence, KeyHold, Sample, Startable, check_keys, excess_of

SLOW = RateLimit(limit=1, per_seconds=1, burst=2)
FAST = RateLimit(limit=1000, per_seconds=1, burst=1000)


def evidence(*moves: tuple[str, str, float], rate: RateLimit = FAST, rate_per_key: RateLimit = FAST) -> KeyEvidence:
    events = [Event(what, "cap_2", key, at) for what, key, at in moves]
    return KeyEvidence({"cap_2": 2}, rate, rate_per_key, events)


def promises(found: KeyEvidence) -> list[str]:
    return [violation.promise for violation in check_keys(found)]


def test_a_place_is_free_again_at_the_instant_of_an_end() -> None:
    moves = [("start", "a", 1.0), ("start", "a", 2.0), ("end", "a", 3.0), ("start", "a", 3.0), ("start", "b", 2.5)]
    assert promises(evidence(*moves)) == []
    assert promises(evidence(*moves, ("start", "a", 2.9))) == ["caps of keys are kept"]


@pytest.mark.parametrize(("last", "excess"), [(2.0, 0.0), (1.5, 0.5)])
def test_a_window_has_as_many_starts_as_burst_and_rate_allow(last: float, excess: float) -> None:
    assert excess_of([1.0, 1.0, 2.0, last + 1], SLOW) == excess


def test_rates_of_queues_and_of_keys_are_checked() -> None:
    moves = [("start", key, 1.0) for key in ("a", "b", "c")]
    assert promises(evidence(*moves, rate=SLOW)) == ["rates are kept"]
    assert promises(evidence(*moves, rate_per_key=SLOW)) == []
    again = [("end", "a", 1.1), ("start", "a", 1.2), ("end", "a", 1.3), ("start", "a", 1.4)]
    assert promises(evidence(*moves, *again, rate_per_key=SLOW)) == ["rates are kept"]


def test_a_start_during_a_hold_is_found() -> None:
    found = evidence(("start", "a", 1.0), ("end", "a", 2.0), ("start", "b", 2.5), ("start", "a", 4.0))
    found.holds = [KeyHold("cap_2", "a", 2.0, 4.0)]
    assert promises(found) == []
    found.holds = [KeyHold("cap_2", "a", 2.0, 4.1)]
    assert promises(found) == ["holds are kept"]


def test_an_idle_child_beside_a_key_with_work_is_found() -> None:
    found = evidence()
    ready, other = Startable("cap_2", "a"), Startable("cap_2", "b")
    looks = [Sample(at / 10, frozenset({7, 8}), frozenset({ready})) for at in range(12)]
    found.samples = looks[:11]
    assert promises(found) == []  # a second is allowed
    found.samples = looks
    assert promises(found) == ["children are used"] * 2
    busy = Sample(0.55, frozenset({8}), frozenset({ready}))
    found.samples = [*looks[:6], busy, *looks[6:]]
    assert promises(found) == ["children are used"]
    started = Sample(0.55, frozenset({7, 8}), frozenset({other}))
    found.samples = [*looks[:6], started, *looks[6:]]
    assert promises(found) == []
    found.samples = looks[::4]  # too few to tell
    assert promises(found) == []
