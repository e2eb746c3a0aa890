"""Workers that claim and finish at the same time: limits hold at every instant, nothing stays idle, nobody deadlocks."""

import random
from functools import partial

from horsies.db.queries.worker import Fence
from horsies.postponement import PostponeScope
from tests.support.factories import DrivenWorker, done, postponed
from tests.support.flow import declare_queue, rate, send_keys
from tests.support.sessions import InBackground, NewSession, Session, scalar

WORKERS, TASKS, PER_KEY = 4, 320, 2
LIMIT, BURST = 400, 20
KEYS = [None, "a", "b", "c", "d", "e"]
QUEUES = ["default", "other"]
SCOPES = [*PostponeScope]

_BUSIEST = """
    select coalesce(max(busy.number), 0) from (
        select count(*) as number from horsies.tasks t where t.status <> 'PENDING' group by t.task_key
    ) as busy
"""
_OVERLAPS = """
    select max(busy.number) from (
        select (select count(*) from horsies.history o
                where o.task_key is not distinct from h.task_key and o.started_at <= h.started_at
                  and o.finished_at > h.started_at) as number
        from horsies.history h
    ) as busy
"""
_TOO_MANY = """
    select count(*) from (
        select s.started_at, row_number() over (order by s.started_at) as nth from horsies.history s
    ) as first
    join (
        select s.started_at, row_number() over (order by s.started_at) as nth from horsies.history s
    ) as last on last.nth >= first.nth
    where last.nth - first.nth + 1
          > %s + %s * extract(epoch from last.started_at - first.started_at)
"""


def work(session: Session, seed: int) -> None:
    """Claim and finish tasks in random portions until none is left."""
    chance = random.Random(seed)  # noqa: S311 - only for tests
    worker = DrivenWorker(session)
    held: list[Fence] = []
    while scalar(session, "select exists (select from horsies.tasks)"):
        found = worker.claim(chance.randint(1, 8))
        held += found
        chance.shuffle(held)
        count = chance.randint(0, len(held)) if found else len(held)
        ending, held = held[:count], held[count:]
        if ending:
            worker.finish(*(done(fence) for fence in ending))


def answer_at_random(session: Session, seed: int) -> int:
    """Claim from both queues, and postpone or end the tasks in random order until none is left; return the answers."""
    chance = random.Random(seed)  # noqa: S311 - only for tests
    worker = DrivenWorker(session, queues=chance.sample(QUEUES, len(QUEUES)))
    session.execute("set deadlock_timeout = '20ms'")
    answers = 0
    while scalar(session, "select exists (select from horsies.tasks)"):
        held = worker.claim(chance.randint(1, 12))
        chance.shuffle(held)
        outcomes = [
            postponed(fence, chance.uniform(0.001, 0.02), chance.choice(SCOPES))
            if chance.random() < 0.5
            else done(fence)
            for fence in held
        ]
        answers += sum(each.postponed is not None for each in outcomes)
        while outcomes:
            verdicts = worker.finish(*outcomes)
            assert set(verdicts) <= {"accepted", "busy"}
            outcomes = [each for each, verdict in zip(outcomes, verdicts, strict=True) if verdict == "busy"]
    return answers


def race(new_session: NewSession, in_background: InBackground, db: Session) -> int:
    """Let all workers work, and return the largest number of tasks of one key that were ever seen in flight."""
    running = [in_background(partial(work, new_session(), number)) for number in range(WORKERS)]
    busiest = 0
    while not all(each.done() for each in running):
        busiest = max(busiest, scalar(db, _BUSIEST))
    for each in running:
        each.result()
    return busiest


def test_no_key_ever_has_more_tasks_in_flight_than_its_limit(
    db: Session, new_session: NewSession, in_background: InBackground
) -> None:
    declare_queue(db, per_key=PER_KEY)
    send_keys(db, [KEYS[number % len(KEYS)] for number in range(TASKS)])
    assert race(new_session, in_background, db) == PER_KEY
    assert scalar(db, "select count(*) from horsies.history where status = 'COMPLETED'") == TASKS
    assert scalar(db, _OVERLAPS) == PER_KEY


def test_no_window_has_more_starts_than_the_rate_allows(
    db: Session, new_session: NewSession, in_background: InBackground
) -> None:
    declare_queue(db, takes_turns=False, rate=rate(LIMIT, 1, burst=BURST))
    send_keys(db, [KEYS[number % len(KEYS)] for number in range(TASKS)])
    race(new_session, in_background, db)
    assert scalar(db, "select count(*) from horsies.history where status = 'COMPLETED'") == TASKS
    assert scalar(db, _TOO_MANY, BURST, LIMIT) == 0
    taken = scalar(db, "select extract(epoch from max(started_at) - min(started_at)) from horsies.history")
    assert float(taken) >= (TASKS - BURST) / LIMIT


def test_answers_and_claims_over_many_keys_in_any_order_do_not_deadlock(
    db: Session, new_session: NewSession, in_background: InBackground
) -> None:
    for queue in QUEUES:
        declare_queue(db, queue, per_key=PER_KEY, rate_per_key=rate(10_000, 1, burst=1000))
        send_keys(db, [f"k{number % 40}" for number in range(TASKS // 2)], queue=queue)
    running = [in_background(partial(answer_at_random, new_session(), number)) for number in range(WORKERS)]
    assert sum(each.result() for each in running) > TASKS // 4
    assert scalar(db, "select count(*) from horsies.history where status = 'COMPLETED' and attempt = 1") == TASKS
    assert scalar(db, "select deadlocks from pg_stat_database where datname = current_database()") == 0
