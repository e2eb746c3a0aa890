"""What a worker says that it holds."""

from uuid import UUID

from horsies.db.queries.worker import Fence
from horsies.worker.exchange import held_by

FIRST, SECOND = UUID(int=1), UUID(int=2)


def test_all_that_is_in_hand_is_told() -> None:
    assert held_by([Fence(FIRST, 1)], {Fence(SECOND, 1): None}, [], []) == [Fence(FIRST, 1), Fence(SECOND, 1)]


def test_a_task_that_was_claimed_again_is_known_by_the_claim_it_runs_under() -> None:
    """An outcome of it, or its return, whose reply was lost after it was written is of an older claim: not lost work."""
    again = Fence(FIRST, 3)
    assert held_by([again], {Fence(FIRST, 1): None}, [Fence(FIRST, 2)], []) == [again]
