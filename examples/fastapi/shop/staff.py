"""The staff: who may log in, and what they may do with the queue. Add somebody: python -m shop.staff ada operator."""

import asyncio
import hashlib
import hmac
import secrets
import sys
from html import escape
from http import HTTPStatus
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import HTTPConnection

from horsies.web import ALL_RIGHTS, Denied, Right, User
from shop.database import Member, Session, open_engine

PAGES = "/queue/"
RIGHTS = {"support": frozenset({Right.VIEW, Right.RERUN}), "operator": ALL_RIGHTS}
LOGIN_PAGE = """<!doctype html>
<html lang="en"><title>Shop: log in</title>
<form method="post" action="/login"><p>{problem}</p>
<label>Name <input name="name" autocomplete="username" required></label>
<label>Password <input name="password" type="password" autocomplete="current-password" required></label>
<input type="hidden" name="next" value="{target}"><button>Log in</button></form></html>
"""

router = APIRouter(include_in_schema=False)


async def staff_only(connection: HTTPConnection) -> User | Denied:
    """Tell the pages of the queue who makes a request. It asks the database each time, so a removal works at once."""
    name = connection.session.get("member")
    async with AsyncSession(connection.app.state.engine) as session:
        member = None if name is None else await session.get(Member, name)
    if member is None:
        target = connection.url.replace(scheme="", netloc="")
        return Denied("log in", HTTPStatus.UNAUTHORIZED, login_url=f"/login?{urlencode({'next': str(target)})}")
    return User(member.name, RIGHTS[member.role])


@router.get("/login")
async def show_login(target: Annotated[str, Query(alias="next")] = PAGES) -> Response:
    return login_page(target)


@router.post("/login")
async def log_in(
    request: Request,
    session: Session,
    name: Annotated[str, Form()],
    password: Annotated[str, Form()],
    target: Annotated[str, Form(alias="next")] = PAGES,
) -> Response:
    member = await session.get(Member, name)
    stored = secrets.token_hex(48) if member is None else member.password_hash
    is_right = await asyncio.to_thread(matches, password, stored)  # takes the same time for an unknown name
    if member is None or not is_right:
        return login_page(target, "The name or the password is wrong.", HTTPStatus.UNAUTHORIZED)
    request.session["member"] = member.name
    # Only to our own pages: a link to this form must not lead to another site.
    return RedirectResponse(target if target.startswith(PAGES) else PAGES, HTTPStatus.SEE_OTHER)


@router.post("/logout")
async def log_out(request: Request) -> Response:
    request.session.clear()
    return RedirectResponse("/login", HTTPStatus.SEE_OTHER)


def login_page(target: str, problem: str = "", status: HTTPStatus = HTTPStatus.OK) -> Response:
    return HTMLResponse(LOGIN_PAGE.format(problem=escape(problem), target=escape(target)), status)


def hashed(password: str, salt: bytes) -> str:
    return salt.hex() + hashlib.scrypt(password.encode(), salt=salt, n=1 << 14, r=8, p=1, dklen=32).hex()


def matches(password: str, stored: str) -> bool:
    return hmac.compare_digest(hashed(password, bytes.fromhex(stored[:32])), stored)


async def add_member(name: str, role: str) -> str:
    """Add a member of the staff, or change the role of one; return the new password."""
    password = secrets.token_urlsafe(12)
    member = Member(name=name, role=role, password_hash=hashed(password, secrets.token_bytes(16)))
    engine = await open_engine()
    async with AsyncSession(engine) as session, session.begin():
        await session.merge(member)
    await engine.dispose()
    return password


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[2] not in RIGHTS:
        sys.exit(f"usage: python -m shop.staff NAME {'|'.join(RIGHTS)}")
    print("password:", asyncio.run(add_member(*sys.argv[1:])))
