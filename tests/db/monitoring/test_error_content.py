"""`error_content`: the frame and the message by which errors are grouped, whatever text an error contains."""

import json

import pytest

from tests.support.sessions import Session

APP = 'File "/srv/shop/mail.py", line 12, in send_mail'
HELPER = 'File "/srv/shop/smtp.py", line 7, in connect'
INSTALLED = 'File "/srv/venv/lib/python3.13/site-packages/requests/api.py", line 63, in get'
WINDOWS = r'File "C:\venv\Lib\site-packages\requests\api.py", line 63, in get'
STANDARD = 'File "/usr/lib/python3.13/socket.py", line 850, in create_connection'
FROZEN = 'File "<frozen importlib._bootstrap>", line 1387, in _gcd_import'


def content(db: Session, error: object) -> tuple[str, str]:
    [row] = db.execute("select frame, message from horsies.error_content(%s::json)", (json.dumps(error),)).fetchall()
    return row[0], row[1]


def frame(db: Session, *lines: str) -> str:
    text = "Traceback (most recent call last):\n" + "".join(f"  {line}\n    call()\n    ~~~~^^\n" for line in lines)
    return content(db, {"message": "", "exception": {"traceback": text + "ValueError: no\n"}})[0]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ((APP, HELPER), "/srv/shop/smtp.py in connect"),
        ((APP, INSTALLED, STANDARD), "/srv/shop/mail.py in send_mail"),
        ((WINDOWS, STANDARD), r"C:\venv\Lib\site-packages\requests\api.py in get"),
        ((INSTALLED, STANDARD), "/srv/venv/lib/python3.13/site-packages/requests/api.py in get"),
        ((FROZEN, STANDARD), "/usr/lib/python3.13/socket.py in create_connection"),
        ((), ""),
    ],
)
def test_the_frame_is_the_innermost_one_of_the_users_code(db: Session, lines: tuple[str, ...], expected: str) -> None:
    assert frame(db, *lines) == expected


def test_the_frame_of_an_exception_group_is_found(db: Session) -> None:
    text = f"  + Exception Group Traceback (most recent call last):\n  |   {APP}\n  |     run()\n"
    assert content(db, {"exception": {"traceback": text}})[0] == "/srv/shop/mail.py in send_mail"


def test_of_a_long_traceback_both_ends_are_searched(db: Session) -> None:
    text = f"  {APP}\n" + "    x\n" * 100_000
    assert content(db, {"exception": {"traceback": text}})[0] == "/srv/shop/mail.py in send_mail"
    text += f"  {HELPER}\n"
    assert content(db, {"exception": {"traceback": text}})[0] == "/srv/shop/smtp.py in connect"


def test_a_long_frame_is_cut(db: Session) -> None:
    found = frame(db, f'File "/{"deep/" * 200}mail.py", line 3, in {"f" * 500}')
    assert len(found) == 200
    assert "mail.py in fff" in found


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("order 4711 costs 3.50", "order # costs #.#"),
        ("no user 0198c0de-1234-7890-ABCD-1234567890ab", "no user #"),
        ("token ab12cd34ef56gh78 expired", "token # expired"),
        ("object at 0x7f3a2b1c", "object at #"),
        ("commit 9ce3781 and deadbeef", "commit # and deadbeef"),
        ("the international_relations table", "the international_relations table"),
        ("  two\n\tlines  ", "two lines"),
        ("x" * 300, "x" * 200),
        ("", ""),
        (None, ""),
        (5, "#"),
        ("\x1b[31mred\x1b[0m", "\x1b[#mred\x1b[#m"),
        ("price in €: 5", "price in €: #"),
    ],
)
def test_the_message_is_blanked(db: Session, message: object, expected: str) -> None:
    assert content(db, {"message": message}) == ("", expected)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("a\0b", "a?b"),
        ("\ud800 and \udfff", "? and ?"),
        ("\0\\u0000 \\\0", "?\\u# \\?"),
        ("\0 \\\\ud800", "? \\\\ud#"),
    ],
)
def test_text_that_postgresql_cannot_represent_is_replaced(db: Session, message: str, expected: str) -> None:
    error = {"message": message, "exception": {"traceback": f"  {APP}\n\0"}}
    assert content(db, error) == ("/srv/shop/mail.py in send_mail", expected)


@pytest.mark.parametrize("error", [None, 1, "text", [], {}, {"exception": 5}, {"exception": {"traceback": [1]}}])
def test_an_error_of_another_form_has_no_content(db: Session, error: object) -> None:
    assert content(db, error) == ("", "")


def test_a_message_of_ten_megabytes(db: Session) -> None:
    assert content(db, {"message": "a 1 " * 2_600_000})[1] == ("a # " * 50).strip()
    assert content(db, {"message": "\0" * 1_700_000}) == ("", ""), "too much to replace"
