"""The objects that decide who makes a request: passwords, proxies, and this machine only."""

import asyncio
import base64
from collections import Counter

import pytest
from starlette.requests import HTTPConnection

from horsies.web import ALL_RIGHTS, Auth, BasicAuth, Denied, HeaderAuth, LoopbackAuth, Right, User, hash_password

HASH = hash_password("open sesame")


def connect(
    *headers: tuple[str, str], peer: str | None = "127.0.0.1", scheme: str = "http", encoding: str = "utf-8"
) -> HTTPConnection:
    """Return a request."""
    encoded = [(name.lower().encode(), value.encode(encoding)) for name, value in headers]
    client = None if peer is None else (peer, 4711)
    scope = {"type": "http", "scheme": scheme, "path": "/", "headers": encoded, "client": client, "server": ("x", 80)}
    return HTTPConnection(scope)


def ask(auth: Auth, *headers: tuple[str, str], peer: str | None = "127.0.0.1", scheme: str = "http") -> User | Denied:
    async def main() -> User | Denied:
        return await auth(connect(*headers, peer=peer, scheme=scheme))

    return asyncio.run(main())


def basic(user: str, password: str) -> tuple[str, str]:
    return "Authorization", "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def test_a_password_is_stored_as_a_salted_hash() -> None:
    assert HASH.startswith("scrypt:16384:8:1:")
    assert hash_password("open sesame") != HASH


@pytest.mark.parametrize(
    "wrong", ["", "secret", "scrypt:1:2:3:4", "scrypt:x:8:1:aa:bb", "scrypt:99999999:8:1:aaaa:bbbb"]
)
def test_a_wrong_hash_is_refused_at_once(wrong: str) -> None:
    with pytest.raises(ValueError, match="."):
        BasicAuth("ada", wrong)


def test_the_right_password_gives_the_rights_of_the_user() -> None:
    auth = BasicAuth("ada", HASH, {Right.VIEW, Right.CANCEL})
    for _ in range(2):  # the second time without scrypt
        assert ask(auth, basic("ada", "open sesame")) == User("ada", frozenset({Right.VIEW, Right.CANCEL}))


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [basic("ada", "wrong")],
        [basic("bob", "open sesame")],
        [basic("ada", "open sesame"), basic("ada", "open sesame")],
        [("Authorization", "Bearer x")],
        [("Authorization", "Basic !!!")],
        [("Authorization", "Basic " + base64.b64encode(b"no colon").decode())],
        [("Authorization", "Basic " + base64.b64encode(b"\xff:\xff").decode())],
        [basic("ada", "x" * 5000)],
    ],
)
def test_other_credentials_are_refused(headers: list[tuple[str, str]]) -> None:
    answer = ask(BasicAuth("ada", HASH), *headers)
    assert isinstance(answer, Denied)
    assert answer.status == 401
    assert answer.challenge is not None


def test_passwords_are_not_checked_without_a_bound() -> None:
    auth = BasicAuth("ada", HASH)
    wrong = [connect(basic("ada", f"wrong {number}")) for number in range(30)]

    async def main() -> list[User | Denied]:
        flood = await asyncio.gather(*map(auth, wrong))
        return [*flood, await auth(connect(basic("ada", "open sesame")))]

    *flood, last = asyncio.run(main())
    refused = [answer for answer in flood if isinstance(answer, Denied)]
    assert Counter(answer.status for answer in refused) == {401: 10, 429: 20}
    assert {answer.headers["retry-after"] for answer in refused if answer.status == 429} == {"2"}
    assert isinstance(last, User)


def test_wrong_passwords_do_not_delay_the_last_accepted_one() -> None:
    auth = BasicAuth("ada", HASH)
    wrong = [connect(basic("ada", f"wrong {number}")) for number in range(30)]

    async def main() -> list[User | Denied]:
        await auth(connect(basic("ada", "open sesame")))
        return await asyncio.gather(*map(auth, wrong), auth(connect(basic("ada", "open sesame"))))

    assert isinstance(asyncio.run(main())[-1], User)


def test_passwords_are_not_accepted_over_plain_http_from_elsewhere() -> None:
    auth = BasicAuth("ada", HASH)
    refused = ask(auth, basic("ada", "open sesame"), peer="10.0.0.7")
    assert isinstance(refused, Denied)
    assert "HTTPS" in refused.message
    assert isinstance(ask(auth, basic("ada", "open sesame"), peer="10.0.0.7", scheme="https"), User)


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.0.1", "::1", "::ffff:127.0.0.1"])
def test_without_login_this_machine_is_admitted(peer: str) -> None:
    assert isinstance(ask(LoopbackAuth(), peer=peer), User)


@pytest.mark.parametrize("peer", ["10.0.0.7", "192.168.0.1", "::ffff:10.0.0.7", "not an address", None])
def test_without_login_others_are_refused(peer: str | None) -> None:
    assert isinstance(ask(LoopbackAuth(ALL_RIGHTS), peer=peer), Denied)


@pytest.mark.parametrize("header", ["Forwarded", "X-Forwarded-For", "X-Real-IP"])
def test_without_login_a_request_that_a_proxy_passes_on_is_refused(header: str) -> None:
    answer = ask(LoopbackAuth(), (header, "10.0.0.7"))
    assert isinstance(answer, Denied)
    assert f"header {header.lower()}" in answer.message
    assert "--auth" in answer.message


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_names_of_users_are_utf_8_or_latin_1(encoding: str) -> None:
    auth = HeaderAuth("X-Forwarded-User", ["10.0.0.0/8"], {"müller": [Right.CANCEL]})
    request = connect(("X-Forwarded-User", "müller"), peer="10.1.2.3", encoding=encoding)

    async def main() -> User | Denied:
        return await auth(request)

    assert asyncio.run(main()) == User("müller", frozenset({Right.VIEW, Right.CANCEL}))


def test_a_trusted_proxy_names_the_user() -> None:
    auth = HeaderAuth("X-Forwarded-User", ["10.0.0.0/8"], {"ada": [Right.CANCEL]})
    assert ask(auth, ("x-forwarded-user", "ada"), peer="10.1.2.3") == User("ada", frozenset({Right.VIEW, Right.CANCEL}))
    assert ask(auth, ("x-forwarded-user", "bob"), peer="10.1.2.3") == User("bob", frozenset({Right.VIEW}))


@pytest.mark.parametrize(
    ("peer", "values"),
    [
        ("127.0.0.1", ["ada"]),
        (None, ["ada"]),
        ("10.1.2.3", []),
        ("10.1.2.3", [""]),
        ("10.1.2.3", ["ada", "bob"]),
        ("10.1.2.3", ["a" * 300]),
        ("10.1.2.3", ["ada\x1b[2J"]),
    ],
)
def test_other_requests_are_refused_by_header_auth(peer: str | None, values: list[str]) -> None:
    auth = HeaderAuth("X-Forwarded-User", ["10.0.0.0/8"])
    headers = [("X-Forwarded-User", value) for value in values]
    assert isinstance(ask(auth, *headers, ("X-Forwarded-For", "10.1.2.3"), peer=peer), Denied)


@pytest.mark.parametrize("proxies", [[], ["nonsense"], ["10.0.0.1/8"]])
def test_header_auth_needs_valid_networks(proxies: list[str]) -> None:
    with pytest.raises(ValueError, match="."):
        HeaderAuth("X-Forwarded-User", proxies)
