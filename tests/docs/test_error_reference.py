"""The reference of errors has every code, under its name."""

import re
from pathlib import Path

from horsies import ErrorCode

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"


def test_every_code_is_explained_under_its_name() -> None:
    rows = re.findall(r"^\| (HRS-\d+) \| `(\w+)` \| (.+) \|$", PAGE.read_text(), re.MULTILINE)
    assert [(code, name) for code, name, _ in rows] == [(code.value, code.name) for code in ErrorCode]
