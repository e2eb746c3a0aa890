"""A producer of the chaos harness: sends tasks until stopped, retries failed sends, records accepted tasks.

producer.py load SEED PER_SECOND NAMES  until SIGTERM; NAMES (a,b,c) selects tasks
producer.py runs SEED COUNT SECONDS     starts COUNT workflow runs, spread over the time
producer.py answers SEED               until SIGTERM sends tasks one by one and records each result
producer.py burst COUNT                 sends COUNT tasks at once, waits for them if COUNT > 1, and prints the seconds
"""

import heapq
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import chaos_effects as effects
import chaos_flows as flows
import chaos_tasks as tasks

from horsies import Err

SECRET = "s3cret-argument"
PAUSE = Path("pause")
UNKNOWN = ("WAIT_TIMEOUT", "BROKER_ERROR")  # the task has not ended, or the database does not answer
MAKERS: list[tuple[int, Callable[[random.Random], tuple[str, tuple[object, ...]]]]] = [
    (30, lambda _: ("quick", (SECRET,))),
    (15, lambda _: ("quick_again", (SECRET,))),
    (10, lambda rng: ("nap", (rng.uniform(0.02, 0.4),))),
    (15, lambda rng: ("nap_again", (rng.choice([0.05, 0.2, 1.5, 3]),))),
    (8, lambda rng: ("nap_async", (rng.uniform(0.02, 0.4),))),
    (8, lambda rng: ("flaky", (rng.randrange(3),))),
    (5, lambda _: ("failing", ())),
    (5, lambda rng: ("capped", (rng.uniform(0.02, 0.3),))),
    (4, lambda _: ("sender", ())),
    (8, lambda rng: ("effect", (rng.choice(HOW), rng.choice([0, 0.05, 0.2, 1.5])))),
    (4, lambda rng: ("effect_once", (rng.choice(HOW[:-1]), rng.uniform(0.0, 0.2)))),
    (4, lambda rng: ("effect_session", (rng.choice(HOW), rng.choice([0, 0.05, 0.2])))),
    (4, lambda rng: ("effect_async", (rng.choice(HOW[:-1]), rng.uniform(0.0, 0.4)))),
    (3, lambda rng: ("effect_late", (rng.uniform(0.0, 0.4),))),
    (4, lambda rng: ("effect_cancelled", (rng.uniform(0.1, 0.6),))),
]
HOW: list[effects.How] = ["ok", "ok", "ok", "err", "raise", "refuse"]
CANCELLED_WITHIN_S = 0.8


def send(name: str, args: tuple[object, ...], rng: random.Random, stop: list[int]) -> str | None:
    """Send a task with replays until it is accepted; return the id. After SIGTERM, give up within 30 seconds."""
    task = getattr(effects if name.startswith("effect") else tasks, name)
    answer = task.send(*args)
    give_up_at = None
    while isinstance(answer, Err):
        if not answer.err_value.retryable:
            tasks.write("refused", f"{name} {answer.err_value.code} {answer.err_value.message}")
            return None
        if stop and give_up_at is None:
            give_up_at = time.monotonic() + 30
        if give_up_at is not None and time.monotonic() > give_up_at:
            tasks.write("sent", f"unsure {name} {answer.err_value.task_id}")
            return None
        time.sleep(rng.uniform(0.0, 0.5))  # meanwhile the first send may be accepted, and its task may end
        tasks.write("replays", f"{answer.err_value.task_id}")
        answer = task.retry_send(answer.err_value)
    tasks.write("sent", f"accepted {name} {answer.ok_value.task_id}")
    return answer.ok_value.task_id


def load(seed: str, per_second: float, names: str) -> None:
    """Send tasks at random moments, and cancel some of them."""
    stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stop.append(number))
    rng = random.Random(seed)  # noqa: S311
    weights, makers = zip(*MAKERS, strict=True)
    to_cancel: list[tuple[float, str]] = []
    while not stop:
        cancel_due(to_cancel)
        if PAUSE.exists():
            time.sleep(0.2)
            continue
        [make] = rng.choices(makers, weights)
        name, args = make(rng)
        if not names or name in names.split(","):
            task_id = send(name, args, rng, stop)
            if name == "effect_cancelled" and task_id is not None:
                heapq.heappush(to_cancel, (time.monotonic() + rng.uniform(0, CANCELLED_WITHIN_S), task_id))
            time.sleep(rng.expovariate(per_second))
    tasks.app.close()


def cancel_due(to_cancel: list[tuple[float, str]]) -> None:
    """Cancel the tasks whose time has come. A cancel that fails is not repeated."""
    while to_cancel and to_cancel[0][0] <= time.monotonic():
        _, task_id = heapq.heappop(to_cancel)
        effects.effect_cancelled.handle(task_id).cancel()


def answers(seed: str) -> None:
    """Send tasks one by one, wait for the result of each, and record it."""
    stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stop.append(number))
    rng = random.Random(f"{seed} answers")  # noqa: S311
    while not stop:
        task_id = send("nap", (rng.uniform(0.05, 1.0),), rng, stop)
        if task_id is not None:
            record_answer(task_id, stop)
        time.sleep(rng.uniform(0.0, 0.3))
    tasks.app.close()


def record_answer(task_id: str, stop: list[int]) -> None:
    """Wait for the result of a task and record it. After SIGTERM, give up within 30 seconds."""
    give_up_at = None
    while give_up_at is None or time.monotonic() < give_up_at:
        answer = tasks.app.get_result(task_id, timeout_ms=2_000)
        if answer.is_ok():
            tasks.write("answers", f"{task_id} - {answer.ok_value}")
            return
        code = str(answer.err_value.error_code)
        if code not in UNKNOWN:
            tasks.write("answers", f"{task_id} {code} ")
            return
        if stop and give_up_at is None:
            give_up_at = time.monotonic() + 30


def start(name: str, stop: list[int]) -> None:
    """Start a run with replays until it is accepted. After SIGTERM, give up within 30 seconds."""
    spec = flows.flow(name)
    answer = spec.start()
    give_up_at = None
    while isinstance(answer, Err):
        if not answer.err_value.retryable:
            tasks.write("runs", f"accepted {answer.err_value.code} {answer.err_value.workflow_id}")
            return
        if stop and give_up_at is None:
            give_up_at = time.monotonic() + 30
        if give_up_at is not None and time.monotonic() > give_up_at:
            tasks.write("runs", f"unsure {name} {answer.err_value.workflow_id}")
            return
        time.sleep(0.3)
        tasks.write("replays", f"{answer.err_value.workflow_id}")
        answer = spec.retry_start(answer.err_value)
    tasks.write("runs", f"accepted {name} {answer.ok_value.workflow_id}")


def runs(seed: str, count: int, seconds: float) -> None:
    """Start runs at random moments."""
    stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stop.append(number))
    begin, rng = time.monotonic(), random.Random(seed)  # noqa: S311
    for number, due in enumerate(sorted(rng.uniform(0, seconds) for _ in range(count))):
        while not stop and time.monotonic() < begin + due:
            time.sleep(min(0.1, max(0.0, begin + due - time.monotonic())))
        if not stop:
            start(f"{seed}-{number}", stop)
    tasks.app.close()


def burst(count: int) -> None:
    """Measure how long many quick tasks take from the first send to the last result."""
    rng = random.Random(0)  # noqa: S311
    start = time.monotonic()
    ids = [send("quick", (SECRET,), rng, [1]) for _ in range(count)]
    for task_id in filter(None, ids) if count > 1 else ():
        tasks.app.get_result(task_id, timeout_ms=60_000)
    sys.stdout.write(f"{time.monotonic() - start}\n")
    tasks.app.close()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["load", seed, rate, names]:
            load(seed, float(rate), names)
        case ["runs", seed, count, seconds]:
            runs(seed, int(count), float(seconds))
        case ["answers", seed]:
            answers(seed)
        case ["burst", count]:
            burst(int(count))
