"""The dispatcher: which child gets a job."""

from uuid import UUID

from horsies.db.queries.worker import Fence
from horsies.worker.ipc import Job
from tests.support.exchanges import Parts, worker_parts
from tests.unit.worker.test_claimer import in_loop

QUICK_S = 0.00001


def jobs(count: int, *, queue_limited: bool = False) -> list[Job]:
    """Return jobs of one task."""
    fences = [Fence(UUID(int=number), 1) for number in range(count)]
    return [Job(fence, 1, "send_email", "default", b"{}", queue_limited=queue_limited) for fence in fences]


def loads(parts: Parts) -> list[int]:
    """Return the number of jobs of each child."""
    return [child.load for child in parts.processes]


@in_loop
async def test_each_job_goes_to_the_child_with_the_fewest_jobs() -> None:
    async with worker_parts(children=3) as parts:
        parts.finish(parts.run_one(), seconds=QUICK_S)
        given = jobs(8)
        assert parts.dispatcher.assign_all(given[:1]) == []
        assert parts.dispatcher.assign_all(given[1:]) == []
        assert loads(parts) == [3, 3, 2]
        assert [list(child.jobs.values()) for child in parts.processes] == [given[0::3], given[1::3], given[2::3]]


@in_loop
async def test_jobs_that_no_child_may_take_are_returned() -> None:
    async with worker_parts(children=2) as parts:
        parts.finish(parts.run_one(), seconds=QUICK_S)
        limited = jobs(4, queue_limited=True)
        assert parts.dispatcher.assign_all(limited) == limited[2:]
        assert loads(parts) == [1, 1]


@in_loop
async def test_a_child_gets_no_more_jobs_than_it_may_run_in_its_life() -> None:
    async with worker_parts(children=2, max_tasks_per_child=3) as parts:
        parts.finish(parts.run_one(), seconds=QUICK_S)
        given = jobs(7)
        assert parts.dispatcher.assign_all(given) == given[5:]
        assert loads(parts) == [2, 3]  # the first child has run a task before
