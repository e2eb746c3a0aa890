"""No output shows a secret of a database URL, whatever its characters, notation and place.

A secret in these tests consists of marks with special characters between them. No output may contain any of the marks.
"""

import io
import itertools
import json
import linecache
import logging
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from horsies import AppConfig, Horsies, HorsiesError, PostgresConfig, masking, masking_source
from horsies.config.base import show_value
from horsies.db.errors import call_failed
from horsies.events import JsonFormatter, ShortFormatter, TextFormatter
from horsies.masking import SECRET_KEYWORDS, mask_secrets, remember_secrets, split_url
from horsies.masking_source import mask_source
from horsies.rendering import render_error

MARKS = ("Xq7kV", "Zw8vJ")
AWKWARD = "'\"\t\n @/:?#&%=\\;,)]}$ \u00fc\u2028\x1b*"

secrets = st.text(AWKWARD, max_size=4).map(lambda between: between.join(MARKS))
encodings = st.sampled_from(
    [
        lambda text: quote(text, safe=""),
        quote,
        lambda text: quote(text, safe="'\"\t\n;,)]}$*="),
        lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
        lambda text: text,
    ]
)
names = st.sampled_from(["", "me", "m%40e", "postgres"])
places = st.sampled_from(
    ["127.0.0.1:1/jobs", "127.0.0.1:1,127.0.0.1:2/jobs", "127.0.0.1:1", "[::1]:1/a%20b", "127.0.0.1:x"]
)
keywords = st.sampled_from(
    [*sorted(SECRET_KEYWORDS - {"scram_client_key", "scram_server_key"}), "pass%77ord", "PASSWORD", "password "]
)
others = st.sampled_from(["", "sslmode=disable&", "application_name=a@b&", "colour=red&", "broken&"])


@st.composite
def urls(draw: st.DrawFn) -> str:
    """Draw a URL with a secret as the password or as a parameter. libpq need not accept it."""
    written = draw(encodings)(draw(secrets))
    scheme = draw(st.sampled_from(["postgresql", "postgres", "postgresql+psycopg", "mysql"]))
    if draw(st.booleans()):
        return f"{scheme}://{draw(names)}:{written}@{draw(places)}?{draw(others)}connect_timeout=1"
    user = draw(st.sampled_from(["", "me@", "me:x@"]))
    return f"{scheme}://{user}{draw(places)}?{draw(others)}{draw(keywords)}={written}"


def assert_hidden(*texts: str) -> None:
    for text in texts:
        for mark in MARKS:
            assert mark not in text, text


def logged(fields: dict[str, Any], message: str, error: BaseException) -> list[str]:
    record = logging.LogRecord("shop", logging.ERROR, __file__, 1, message, None, (type(error), error, None))
    record.fields = fields
    return [formatter().format(record) for formatter in (TextFormatter, ShortFormatter, JsonFormatter)]


def log_of(config: AppConfig) -> str:
    stream = io.StringIO()
    logger, handler = logging.getLogger("shop.config"), logging.StreamHandler(stream)
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        config.log_config(logger)
    finally:
        logger.removeHandler(handler)
    assert "config.broker" in stream.getvalue()
    return stream.getvalue()


def refusal_of(url: str) -> HorsiesError | None:
    try:
        PostgresConfig(database_url=url)
    except HorsiesError as error:
        return error
    return None


def reports(error: HorsiesError) -> list[str]:
    shown = {"message": error.message, "notes": error.notes, "help": error.help_text}
    return [str(error), repr(error), render_error(error, color=False), json.dumps(shown, ensure_ascii=False)]


@settings(deadline=None, max_examples=300)
@example("postgresql://127.0.0.1:1/jobs?password =Xq7kV://Zw8vJ")
@example("postgresql://127.0.0.1:1/jobs?sslpassword=Xq7kV&\u00fc=Zw8vJ")
@given(urls())
def test_no_output_shows_the_secret_of_a_url(url: str) -> None:
    assert_hidden(
        show_value(url), mask_secrets(url), mask_secrets(f"{url} refused"), mask_secrets(f"reach {url!r}: no")
    )
    assert_hidden(mask_secrets(repr({"url": url})), mask_secrets(f"no {url}; but me@localhost, see https://a.b"))
    refusal = refusal_of(url)
    if refusal is not None:
        assert_hidden(*reports(refusal))
        return
    config = PostgresConfig(database_url=url)
    assert_hidden(config.masked_url(), repr(config), str(config), log_of(AppConfig(broker=config)))
    assert_hidden(*reports(config.unusable("connection refused")))


@settings(deadline=None, max_examples=100)
@given(urls())
def test_no_message_of_libpq_or_log_shows_the_secret_of_a_url_in_use(url: str) -> None:
    refusal = refusal_of(url)
    if refusal is not None:
        return
    config = PostgresConfig(database_url=url)
    libpq_url = config.resolve_url()
    with pytest.raises(psycopg.Error) as caught:
        psycopg.connect(libpq_url, **config.connect_kwargs())
    assert_hidden(str(call_failed(caught.value)))
    given_secrets = [str(value) for key, value in conninfo_to_dict(libpq_url).items() if key in SECRET_KEYWORDS]
    for secret in given_secrets:
        error = OSError(f"no answer to {secret!r} from {make_conninfo(libpq_url)}")
        assert_hidden(str(call_failed(psycopg.OperationalError(f'invalid value "{secret}"\nor {secret!r}'))))
        assert_hidden(*logged({"reason": secret, "url": url}, f"cannot use {secret}", error))


@settings(deadline=None, max_examples=200)
@given(urls())
def test_an_accepted_url_is_split_as_libpq_splits_it(url: str) -> None:
    if refusal_of(url) is not None:
        return
    text = PostgresConfig(database_url=url).resolve_url()
    found = conninfo_to_dict(text)
    masked = conninfo_to_dict(split_url(text).masked())
    hidden = {key for key in found if key in SECRET_KEYWORDS and found[key]}
    assert {key: value for key, value in masked.items() if key not in hidden} == {
        key: value for key, value in found.items() if key not in hidden
    }
    assert {masked[key] for key in hidden} <= {"***"}


_numbers = itertools.count()


@settings(deadline=None, max_examples=150)
@example("postgresql://127.0.0.1:1/jobs?oauth_client_secret=Xq7kV://Zw8vJ", "{!r}")
@example("postgresql://127.0.0.1:1/jobs?password =Xq7kV://Zw8vJ", "{!r}")
@given(urls(), st.sampled_from(["{!r}", "SecretStr({!r})", "f{!r}", "({!r} 'x@y')"]))
def test_no_line_of_source_shows_the_secret(url: str, argument: str) -> None:
    if "f{" in argument:
        url = url.replace("}", "").replace("{", "")
    source = f"  \tconfig = PostgresConfig(database_url={argument.format(url)}, pool_size='many')"
    assert_hidden(mask_source(source), mask_source(source.removesuffix("')")))
    file = f"<source {next(_numbers)}>"
    linecache.cache[file] = (len(source), None, [source.strip()], file)
    code = compile(source.strip().replace("SecretStr", "str"), file, "exec")
    with pytest.raises(HorsiesError) as caught:
        exec(code, {"PostgresConfig": PostgresConfig, "__name__": "shop"})  # noqa: S102
    assert_hidden(render_error(caught.value, color=True))


@pytest.mark.parametrize(
    ("line", "masked"),
    [
        ('psycopg.connect("host=h password=hunter2 user=a")', 'psycopg.connect("host=h password=*** user=a")'),
        ("""connect("host=h password = 'hun ter2' user=a")""", """connect("host=h password = *** user=a")"""),
        ('connect(host="h", password="hunter2", port=1)', 'connect(host="h", password="***", port=1)'),
        ('{"sslpassword": b"hunter2", "host": "h"}', '{"sslpassword": "***", "host": "h"}'),
        ('f(f"postgresql://{user}:hunter2@{host}")', 'f(f"postgresql://{user}:***@{host}")'),
        ('client_secret = "hunter2"', 'client_secret = "***"'),
        ('url = """postgresql://me:hunter2@h/', 'url = """postgresql://me:***@h/'),
        ('password = os.environ["PASSWORD"]', 'password = os.environ["PASSWORD"]'),
        ('app.task("send", queue_name="mail")', 'app.task("send", queue_name="mail")'),
        ("total = price @ amount  # me@example.com", "total = price @ amount  # me@example.com"),
    ],
)
def test_a_line_of_source_is_read_literal_by_literal(line: str, masked: str) -> None:
    assert mask_source(line) == masked


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("password=hunter2 host=h", "password=*** host=h"),
        ("password='it''s' host=h", "password=*** host=h"),
        ("PASSWORD = 'a\\'b' x", "PASSWORD = *** x"),
        ("no password supplied", "no password supplied"),
        ("password authentication failed for user", "password authentication failed for user"),
        ("see https://example.com/a?b=c", "see https://example.com/a?b=c"),
    ],
)
def test_settings_in_a_text_are_hidden(text: str, masked: str) -> None:
    assert mask_secrets(text).replace("***'s'", "***") == masked


def examples(module: ModuleType) -> list[tuple[str, str]]:
    """Return the rows "input → masked" of the docstring of a module."""
    found = re.findall(r"^    (.+?) +→ +(.+)$", module.__doc__ or "", re.MULTILINE)
    assert found
    return found


@pytest.mark.parametrize(("text", "masked"), examples(masking))
def test_the_examples_of_texts_in_the_module_are_right(text: str, masked: str) -> None:
    assert mask_secrets(text) == masked


@pytest.mark.parametrize(("line", "masked"), examples(masking_source))
def test_the_examples_of_source_in_the_module_are_right(line: str, masked: str) -> None:
    assert mask_source(line) == masked


def test_libpq_has_no_secret_that_is_not_known_here() -> None:
    hidden = {option.keyword.decode() for option in pq.Conninfo.get_defaults() if option.dispchar == b"*"}
    assert "password" in hidden
    assert hidden <= SECRET_KEYWORDS


def test_a_secret_that_is_a_name_as_well_does_not_spoil_texts() -> None:
    remember_secrets("postgresql://postgres:postgres@localhost/postgres")
    remember_secrets("postgresql://me:abc@localhost/jobs")
    assert mask_secrets('the role "postgres" knows the abc') == 'the role "postgres" knows the abc'
    config = PostgresConfig(database_url="postgresql://postgres:postgres@localhost/postgres")
    assert config.masked_url() == "postgresql://postgres:***@localhost/postgres"


def test_an_import_that_fails_shows_neither_the_line_nor_the_message_of_a_secret(tmp_path: Path) -> None:
    url = f"postgresql://me:{MARKS[0]}'\t{MARKS[1]}@localhost:1/jobs"
    (tmp_path / "shop_with_secret.py").write_text(f"raise ValueError({url!r})\n")
    sys.path.insert(0, str(tmp_path))
    app = Horsies(AppConfig(broker=PostgresConfig(database_url="postgresql://localhost:1/jobs")))
    app.discover_tasks(["shop_with_secret"])
    try:
        [problem] = app.check()
        assert_hidden(*reports(problem))
    finally:
        sys.path.remove(str(tmp_path))
