"""Claims by workers of many queues: the cost depends on what they take, and not on what is waiting elsewhere."""

from collections.abc import Iterator

import pytest

from tests.db.test_plans import Reads, reading
from tests.support.databases import new_database
from tests.support.factories import DrivenWorker, cap_queue, numbered_id, pause_queue, request, send
from tests.support.server import Server
from tests.support.sessions import Session, column, freeze_clock, open_session

QUEUES = [f"q{number}" for number in range(1000)]
PRIORITIES = 20
_FILL = """
    insert into horsies.tasks (id, task_name, queue, priority, args, run_at, sent_at, fingerprint)
    select md5(random()::text || q || p)::uuid, %s, 'q' || q, p, '{}', horsies.now() + make_interval(secs => %s), horsies.now(), ''
    from generate_series(0, %s::int) as q cross join generate_series(1, 20) as p cross join generate_series(1, %s::int)
"""


def fill(session: Session, name: str, due_in: float, *, queues: int = 1000, each: int = 1) -> None:
    """Tasks in every pair of the first queues and all priorities."""
    session.execute(_FILL, (name, due_in, queues - 1, each))


@pytest.fixture(scope="module", params=["without statistics", "with statistics"])
def crowded_url(server: Server, template: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """Each of 1,000 queues and 20 priorities has a due task of an unknown name and a scheduled one of a known name."""
    with new_database(server, template) as url:
        with open_session(url) as session:
            session.execute("alter table horsies.tasks set (autovacuum_enabled = off)")
            fill(session, "foreign", -3600)
            fill(session, "add", 3600)
            if request.param == "with statistics":
                session.execute("vacuum analyze")
        yield url


@pytest.fixture
def crowded(crowded_url: str) -> Iterator[Session]:
    """A new session; what it does is rolled back."""
    with open_session(crowded_url) as session, session.transaction(force_rollback=True):
        yield session


def claim_20(session: Session, worker: DrivenWorker) -> Reads:
    with reading(session) as reads:
        assert len(worker.ask(20).tasks) == 20
    assert reads.whole_tables == set()
    return reads


def send_20(session: Session) -> None:
    """One due task in each of 20 pairs of a queue and a priority."""
    for number in range(20):
        send(session, request(queue=QUEUES[37 * number], priority=1 + number % PRIORITIES))


def one_queue(session: Session) -> Reads:
    """What a claim of 20 tasks from a worker's only queue reads."""
    with session.transaction(force_rollback=True):
        for _ in range(20):
            send(session, request(queue="alone"))
        return claim_20(session, DrivenWorker(session, queues=["alone"]))


def test_a_claim_over_many_queues_reads_little_more_than_one_over_one_queue(crowded: Session) -> None:
    alone = one_queue(crowded)
    send_20(crowded)
    reads = claim_20(crowded, DrivenWorker(crowded, queues=QUEUES))
    assert reads.blocks < 5 * alone.blocks
    assert reads.rows < 5 * alone.rows


def test_so_does_one_over_many_capped_queues(crowded: Session) -> None:
    alone = one_queue(crowded)
    send_20(crowded)
    reads = claim_20(crowded, DrivenWorker(crowded, caps=dict.fromkeys(QUEUES, 5)))
    assert reads.blocks < 10 * alone.blocks
    assert reads.rows < 10 * alone.rows


def test_many_known_names_cost_one_probe_each(crowded: Session) -> None:
    worker = DrivenWorker(crowded, queues=QUEUES, names=[f"name {number}" for number in range(200)])
    with reading(crowded) as reads:
        assert worker.ask(20).tasks == []
    assert reads.rows == 1  # the worker
    assert reads.blocks < 5 * 200


def test_one_queue_with_all_priorities_of_a_foreign_backlog_is_passed_by_name(crowded: Session) -> None:
    send(crowded, request(queue="q0", priority=100))
    worker = DrivenWorker(crowded, queues=["q0"])
    with reading(crowded) as reads:
        assert len(worker.claim(20)) == 1
    assert reads.blocks < 500


def test_an_idle_claim_over_scheduled_queues_names_the_next_due_time(crowded: Session) -> None:
    worker = DrivenWorker(crowded, queues=QUEUES)
    with reading(crowded) as reads:
        claim = worker.ask(20)
    assert claim.tasks == []
    assert claim.due_in is not None
    assert 3000 < claim.due_in <= 3600
    assert reads.blocks < 300


def test_a_backlog_of_known_names_in_queues_of_others_is_passed(crowded: Session) -> None:
    fill(crowded, "add", -3600, queues=500, each=10)
    send_20(crowded)
    served = QUEUES[500:]
    expected = column(
        crowded,
        "select id from horsies.tasks where task_name = 'add' and run_at <= horsies.now() and queue = any (%s)"
        " order by priority, run_at, id",
        served,
    )
    worker = DrivenWorker(crowded, queues=served)
    with reading(crowded) as reads:
        assert [task.id for task in worker.ask(20).tasks] == expected
    assert 0 < len(expected) < 20
    assert reads.blocks < 50_000


NAMES = ["add", "sub", "mul"]


@pytest.mark.parametrize("queues", [2, 30], ids=["few queues", "many queues"])
@pytest.mark.parametrize("wanted", [1, 7, 1000])
def test_the_order_is_priority_then_due_time_whichever_way_leads_to_the_rows(
    db: Session, queues: int, wanted: int
) -> None:
    freeze_clock(db)
    for number in range(180):
        name = [*NAMES, "foreign"][number % 4]
        priority, delay = 1 + 7 * number % 5, -((number * 7919) % 181)
        wanted_task = request(numbered_id(number), name=name, queue=f"q{number % queues}", priority=priority)
        send(db, wanted_task)
        db.execute(
            "update horsies.tasks set run_at = run_at + make_interval(secs => %s) where id = %s",
            (delay if number % 9 else 60, wanted_task.task_id),
        )
    served = [f"q{number}" for number in range(queues)]
    expected = column(
        db,
        "select id from horsies.tasks where task_name = any (%s) and run_at <= horsies.now()"
        " order by priority, run_at, id",
        NAMES,
    )
    worker = DrivenWorker(db, queues=served, names=NAMES)
    claimed = []
    while fences := worker.claim(wanted):
        claimed += [fence.task_id for fence in fences]
    assert claimed == expected


def test_queues_that_are_paused_or_full_hide_nothing(db: Session) -> None:
    for number in range(300):
        send(db, request(numbered_id(number), queue=f"q{number % 2}", priority=1))
    last = send(db, request(queue="q29", priority=9))
    pause_queue(db, "q0")
    cap_queue(db, "q1", 1)
    worker = DrivenWorker(db, queues=QUEUES[:30])
    assert [fence.task_id for fence in worker.claim(5)] == [numbered_id(1), last]
    assert worker.claim(5) == []


def test_a_limit_that_another_claim_holds_is_waited_for_once_and_later_ones_are_left(
    db: Session, other: Session
) -> None:
    send(db, request(numbered_id(1), queue="q1", priority=1))
    send(db, request(numbered_id(2), queue="q2", priority=2))
    first = DrivenWorker(db, caps={"q2": 5})
    second = DrivenWorker(other, caps={"q1": 5, "q2": 5})
    with db.transaction():
        assert len(first.claim(1)) == 1
        send(other, request(numbered_id(3), queue="q2", priority=2))
        claim = second.ask(5)
        assert [task.id for task in claim.tasks] == [numbered_id(1)]
        assert claim.due_in == 0
    assert [fence.task_id for fence in second.claim(5)] == [numbered_id(3)]
