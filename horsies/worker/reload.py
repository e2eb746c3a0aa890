"""Starting again when the app has changed: looking at the times of its files."""

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from horsies.errors import HorsiesError, is_users_own

LOOK_EVERY_S = 0.2


def app_folders(errors: Sequence[HorsiesError] = ()) -> tuple[str, ...]:
    """The folders of all modules of the user's that this process has imported, and of those with errors."""
    files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    files += [error.location.file for error in errors if error.location is not None]
    own = {str(Path(file).absolute().parent) for file in files if file and is_users_own(Path(file))}
    return tuple(sorted(own | {str(Path.cwd())}))


class Watch:
    """Sees whether Python files in the folders of an app were changed, added or removed since it was made.

    Whole folders, for a module that could not be imported is none of those that were.

    Attributes:
        folders: where it looks.
        may_help: a change there may mend what is wrong.
    """

    may_help = True

    def __init__(self) -> None:
        """Made before the app is imported, so that no change is missed."""
        self.folders: Sequence[str] = (str(Path.cwd()),)
        self._since = time.time_ns()
        self._names: set[Path] | None = None

    def has_changed(self) -> bool:
        """Look once."""
        found = {file: _changed_at(file) for folder in self.folders for file in Path(folder).glob("*.py")}
        self._names = self._names or set(found)
        return found.keys() != self._names or any(at > self._since for at in found.values())

    async def wait_async(self) -> None:
        """Wait for a change."""
        while not self.has_changed():  # noqa: ASYNC110 - nobody says that a file changes
            await asyncio.sleep(LOOK_EVERY_S)


def _changed_at(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:  # a link to nowhere, as editors leave beside a file that is open
        return 0
