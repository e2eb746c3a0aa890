"""Dumps of databases by ``pg_dump``, from the binaries of the embedded server."""

import subprocess
from pathlib import Path

from horsies.embedded.server import binaries


def dump(url: str, file: Path, *options: str) -> Path:
    """Dump a database into a file, in the plain format unless the options name another one."""
    _run("pg_dump", "--dbname", url, "--file", str(file), *options)
    return file


def restore(file: Path, url: str, *options: str) -> None:
    """Restore a dump in the custom format.

    The program goes on after an error, because servers before PostgreSQL 17 do not know all settings in the dump.
    """
    subprocess.run([binaries() / "pg_restore", "--dbname", url, *options, file], capture_output=True, check=False)


def execute_script(file: Path, url: str) -> None:
    """Execute a dump in the plain format."""
    _run("psql", "--no-psqlrc", "--quiet", "--dbname", url, "--file", str(file))


def _run(program: str, *arguments: str) -> None:
    subprocess.run([binaries() / program, *arguments], check=True, capture_output=True)
