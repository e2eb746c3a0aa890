"""`sample_bucket`: the middle of the bucket of a duration is within 10 % of it."""

import random

import pytest

from horsies.monitoring import Histogram
from tests.support.sessions import Session, scalar

BUCKET = "select horsies.sample_bucket(%s::double precision)"


@pytest.mark.parametrize("seconds", [-3600.0, -1e-9, 0.0, 1e-9, 0.00001])
def test_up_to_ten_microseconds_is_the_first_bucket(db: Session, seconds: float) -> None:
    """A duration is negative if the clock was set back."""
    assert scalar(db, BUCKET, seconds) == 0


def test_the_middle_of_the_bucket_is_near_each_duration(db: Session) -> None:
    dice = random.Random(7)  # noqa: S311
    durations = [10 ** dice.uniform(-5, 8) for _ in range(500)]
    buckets = db.execute(
        "select n, horsies.sample_bucket(n) from unnest(%s::double precision[]) as n order by n", (durations,)
    ).fetchall()
    for seconds, bucket in buckets:
        assert Histogram({bucket: 1}).percentile(0.5) == pytest.approx(seconds, rel=0.1)
    numbers = [bucket for _, bucket in buckets]
    assert numbers == sorted(numbers)
