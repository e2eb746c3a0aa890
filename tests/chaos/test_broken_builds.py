"""The broken builds can be created. `make chaos` shows whether their faults are detected."""

from pathlib import Path

import pytest

from tests.chaos.key_runs import KEY_BUILDS
from tests.chaos.runs import BROKEN, BROKEN_BUILDS, broken_package


@pytest.mark.parametrize("patch", [each.patch for each in (*BROKEN_BUILDS, *KEY_BUILDS)])
def test_each_patch_still_applies(tmp_path: Path, patch: str) -> None:
    package = broken_package(patch, tmp_path)
    originals = Path(__file__).parents[2]
    files = [path.relative_to(package) for path in package.rglob("*.*") if path.is_file()]
    assert any((package / file).read_bytes() != (originals / file).read_bytes() for file in files)


def test_no_patch_is_forgotten() -> None:
    assert {path.stem for path in BROKEN.glob("*.patch")} == {each.patch for each in (*BROKEN_BUILDS, *KEY_BUILDS)}
