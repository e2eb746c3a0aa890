"""The scene of an end-to-end test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.scene import Scene, new_scene


@pytest.fixture
def scene(database_url: str, tmp_path: Path) -> Iterator[Scene]:
    """A scene of the test's own."""
    with new_scene(database_url, tmp_path) as made:
        yield made
