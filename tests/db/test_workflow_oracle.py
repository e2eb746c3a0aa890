"""Random workflows with random events: the database agrees with the model at every step."""

import os
from random import Random

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.support.runs_at_random import SideBySide
from tests.support.sessions import Session

EXAMPLES = int(os.environ.get("HORSIES_ORACLE_EXAMPLES", "200"))


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(seed=st.integers(0, 2**32), most=st.sampled_from([3, 8, 8, 30]), steps=st.integers(0, 40))
@example(seed=463014, most=8, steps=25)  # the task that collects a map is cancelled
def test_database_and_model_agree(db: Session, seed: int, most: int, steps: int) -> None:
    both = SideBySide(db, Random(seed), most)  # noqa: S311 # to be repeated
    for _ in range(steps):
        both.step()
    both.run_to_the_end()
    assert all(run.outcome() is not None for run in both.runs.values())
