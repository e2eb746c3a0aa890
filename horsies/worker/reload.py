"""Detecting changes of the app, by the modification times of its files, for ``--reload``."""

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from horsies.errors import HorsiesError, is_users_own

CHECK_EVERY_S = 0.2


def app_folders(errors: Sequence[HorsiesError] = ()) -> tuple[str, ...]:
    """Return the folders of all user modules that this process has imported, and of the modules with errors."""
    files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    files += [error.location.file for error in errors if error.location is not None]
    own = {str(Path(file).absolute().parent) for file in files if file and is_users_own(Path(file))}
    return tuple(sorted(own | {str(Path.cwd())}))


class Watch:
    """Detects whether Python files in the folders of an app were changed, added or removed since its creation.

    It has to be created before the app is imported, so that no change is missed. It watches whole folders, because a
    module whose import failed is not among the imported modules.

    Attributes:
        folders: the watched folders.
        may_help: whether a change of a file may fix the error that prevented the start.
    """

    may_help = True

    def __init__(self) -> None:
        self.folders: Sequence[str] = (str(Path.cwd()),)
        self._since = time.time_ns()
        self._names: set[Path] | None = None

    def has_changed(self) -> bool:
        """Compare the files with their state when this object was created."""
        found = {file: _changed_at(file) for folder in self.folders for file in Path(folder).glob("*.py")}
        self._names = self._names or set(found)
        return found.keys() != self._names or any(at > self._since for at in found.values())

    async def wait_async(self) -> None:
        """Wait for a change."""
        while not self.has_changed():  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(CHECK_EVERY_S)


def _changed_at(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:  # a broken link, which editors create beside an open file
        return 0
