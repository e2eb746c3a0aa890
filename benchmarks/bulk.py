"""Sends of many tasks, and their floor: a bare insert of the same rows whose parameters psycopg encodes."""

import time

import bench_tasks
import psycopg
from setting import measure
from uuid_utils.compat import uuid7

TABLE = b"""
    drop table if exists bulk_floor;
    create table bulk_floor (like horsies.tasks including all) with (fillfactor = 70);
"""
_INSERT = b"""
    insert into bulk_floor (id, task_name, queue, priority, args, run_at, sent_at, fingerprint)
    select unnest(%s::uuid[]), 'noop', 'default', 100, unnest(%s::text[])::json, now(), now(), unnest(%s::bytea[])
"""


def bulk(url: str, runs: int, count: int) -> None:
    """Send ``count`` tasks at once, and insert as many rows without horsies. The runs alternate."""
    bench_tasks.noop.send(0).unwrap()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(TABLE)
        insert(connection, count)
        found = [(_send(connection, count), insert(connection, count)) for _ in range(runs)]
        connection.execute(b"drop table bulk_floor")
    name = f"send_many of {count:,} tasks"
    measure(name, "/s", runs, iter([count / sent for sent, _ in found]).__next__)
    measure(f"{name}, floor", "/s", runs, iter([count / floor for _, floor in found]).__next__)
    measure("  against the floor", "times", runs, iter([floor / sent for sent, floor in found]).__next__)


def _send(connection: psycopg.Connection, count: int) -> float:
    connection.execute(b"truncate horsies.tasks")
    start = time.perf_counter()
    handles = bench_tasks.noop.send_many([(number,) for number in range(count)]).unwrap()
    taken = time.perf_counter() - start
    assert len(handles) == count
    return taken


def insert(connection: psycopg.Connection, count: int) -> float:
    connection.execute(b"truncate bulk_floor")
    start = time.perf_counter()
    ids = [uuid7() for _ in range(count)]
    args = [f'{{"number":{number}}}' for number in range(count)]
    connection.execute(_INSERT, (ids, args, [bytes(32)] * count))
    return time.perf_counter() - start
