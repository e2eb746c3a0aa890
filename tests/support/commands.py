"""Runs a command line to its end."""

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from horsies.config.postgres import DEFAULT_SCHEMA
from tests.support.roles import with_role
from tests.support.sessions import SCHEMA
from tests.support.workers import HORSIES, clean_environment

_APP_IS_OPTIONAL = {
    "db": 2,
    "tasks": 2,
    "queues": 2,
    "workflows": 2,
    "schedules": 2,
    "workers": 1,
    "errors": 1,
    "metrics": 1,
    "web": 1,
    "top": 1,
    "why": 1,
    "doctor": 1,
}
"""Commands that need no app on the default schema, and how many words they have."""
_WITHOUT_DATABASE = ("schedules", "next")
_NAMES_A_SCHEMA = re.compile(r"\w+:\w+$|--schema|--database-url")


def horsies(folder: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run ``horsies ARGS…`` in a folder."""
    return subprocess.run(
        [HORSIES, *with_app(folder, args)],
        cwd=folder,
        env=clean_environment(**with_role(args, env)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )


def with_app(folder: Path, args: Sequence[str]) -> Sequence[str]:
    """Add an app to a command without one if the schema of this run is not the default schema."""
    words = _APP_IS_OPTIONAL.get(args[0]) if args else None
    if (
        SCHEMA == DEFAULT_SCHEMA
        or words is None
        or tuple(args[:2]) == _WITHOUT_DATABASE
        or any(map(_NAMES_A_SCHEMA.match, args))
    ):
        return args
    app = f"from horsies import *\napp = Horsies(AppConfig(broker=PostgresConfig(schema={SCHEMA!r})))\n"
    (folder / "looking.py").write_text(app)
    return (*args[:words], "looking:app", *args[words:])
