"""The test support itself: servers, cloned databases and the proxy."""

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tests.support.proxy import Proxy
from tests.support.server import Server, database_name
from tests.support.waiting import wait_until


def ask(session: psycopg.Connection, query: str = "select 1") -> object:
    row = session.execute(query.encode()).fetchone()
    return row and row[0]


def test_a_test_gets_a_separate_migrated_database(database_url: str, empty_database_url: str) -> None:
    with psycopg.connect(database_url) as session:
        assert ask(session, "select count(*) from horsies.tasks") == 0
    with psycopg.connect(empty_database_url) as session:
        assert ask(session, "select count(*) from pg_namespace where nspname = 'horsies'") == 0
    assert database_name(database_url) != database_name(empty_database_url)


def test_a_database_can_be_dropped_under_a_connection(server: Server, database_url: str) -> None:
    session = psycopg.connect(database_url)
    assert ask(session) == 1
    with server.connect() as admin:
        admin.execute(b"select pg_terminate_backend(%s)", (session.info.backend_pid,))
    with pytest.raises(psycopg.OperationalError):
        ask(session)
    session.close()


def test_tcp_needs_the_password(tcp_database_url: str) -> None:
    with psycopg.connect(tcp_database_url) as session:
        assert ask(session) == 1
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(tcp_database_url.replace("correct", "wrong"))


def test_the_proxy_forwards_and_cuts(proxy: Proxy, tcp_database_url: str) -> None:
    with psycopg.connect(proxy.url(tcp_database_url)) as session:
        assert len(str(ask(session, "select repeat('x', 1000000)"))) == 1_000_000
        assert proxy.open_connections == 1
        proxy.cut()
        with pytest.raises(psycopg.OperationalError):
            ask(session)
    with psycopg.connect(proxy.url(tcp_database_url)) as session:
        assert ask(session) == 1
    wait_until(lambda: proxy.open_connections == 0)
    assert proxy.accepted == 2


def test_the_proxy_refuses_new_connections_only(proxy: Proxy, tcp_database_url: str) -> None:
    with psycopg.connect(proxy.url(tcp_database_url)) as session:
        proxy.refuse()
        with pytest.raises(psycopg.OperationalError, match="refused"):
            psycopg.connect(proxy.url(tcp_database_url))
        assert ask(session) == 1
    proxy.accept()
    with psycopg.connect(proxy.url(tcp_database_url)) as session:
        assert ask(session) == 1


def test_the_proxy_stalls_without_closing(proxy: Proxy, tcp_database_url: str) -> None:
    with psycopg.connect(proxy.url(tcp_database_url)) as session, ThreadPoolExecutor() as threads:
        proxy.stall()
        answer = threads.submit(ask, session)
        with pytest.raises(psycopg.OperationalError, match="timeout"):
            psycopg.connect(proxy.url(tcp_database_url), connect_timeout=2)
        assert not answer.done()
        proxy.resume()
        assert answer.result(10) == 1


def test_the_proxy_loses_a_reply(proxy: Proxy, database_url: str, tcp_database_url: str) -> None:
    with psycopg.connect(proxy.url(tcp_database_url), autocommit=True) as session:
        proxy.cut_after(0, "to client")
        with pytest.raises(psycopg.OperationalError):
            session.execute("create table made ()")
    with psycopg.connect(database_url) as session:
        assert ask(session, "select count(*) from pg_tables where tablename = 'made'") == 1
