"""Finding tasks that a worker would never run: apps without tasks, and modules of tasks that nothing imports."""

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from horsies.errors import ConfigurationError, ErrorCode, HorsiesError, SourceLocation, is_users_own
from horsies.tasks.discovery import loaded_module
from horsies.tasks.registry import Registry

_MOST_FILES = 2000
_DECORATED = re.compile(r"^[ \t]*@[\w.]+\.task\(", re.MULTILINE)
_NOT_SOURCES = {"tests", "test", "node_modules", "site-packages", "build", "dist"}


def find_warnings(registry: Registry, home: str, discovered: Sequence[str]) -> list[HorsiesError]:
    """Find tasks that are not discovered. Call it after all discovered modules were imported.

    Args:
        registry: The registry of the app.
        home: The module that made the app.
        discovered: The modules that the app discovers.
    """
    places = list(_undiscovered(home))
    if not registry.names:
        return [_without_tasks(registry, discovered, places)]
    return [_not_discovered(place) for place in places]


def _without_tasks(
    registry: Registry, discovered: Sequence[str], places: Sequence[SourceLocation]
) -> ConfigurationError:
    notes = [f"the app discovers {', '.join(discovered)}"] if discovered else ["the app discovers no modules"]
    notes += [f"there are tasks in {place}, which nothing imports" for place in places[:3]]
    if places:
        fix = f"add {_as_setting(places)} where the app is made"
    elif discovered:
        fix = "define tasks with @app.task(…) of this app in one of these modules"
    else:
        fix = 'define tasks with @app.task(…), and name their modules: app.discover_tasks(["shop.tasks"])'
    return ConfigurationError(
        ErrorCode.APP_WITHOUT_TASKS,
        f"the app {registry.module!r} has no tasks",
        location=registry.location,
        notes=notes,
        help_text=fix,
    )


def _not_discovered(place: SourceLocation) -> ConfigurationError:
    return ConfigurationError(
        ErrorCode.TASK_NOT_DISCOVERED,
        "there are tasks in a module that neither the app nor a discovered module imports: no worker will run them",
        location=place,
        help_text=f"add {_as_setting([place])} where the app is made",
    )


def _as_setting(places: Iterable[SourceLocation]) -> str:
    return f"app.discover_tasks([{', '.join(repr(_dotted(Path(place.file))) for place in places)}])"


def _dotted(file: Path) -> str:
    """Return the name by which a file can be imported, or its path if it has none."""
    roots = [Path(entry or ".").absolute() for entry in sys.path]
    names = [".".join(file.relative_to(root).with_suffix("").parts) for root in roots if file.is_relative_to(root)]
    return min(names, key=len, default=str(file))


def _undiscovered(home: str) -> Iterator[SourceLocation]:
    """Find files near the app's module that define tasks of the app but were not imported."""
    module = loaded_module(home)
    file = getattr(module, "__file__", None)
    if not file or not is_users_own(Path(file)):
        return
    own = Path(file).absolute()
    imported = {getattr(each, "__file__", None) for each in list(sys.modules.values())}
    known = {Path(each).absolute() for each in imported if isinstance(each, str)}
    name = own.parent.name if own.stem == "__init__" else own.stem
    mentions = re.compile(rf"^\s*(?:from|import)\b.*\b{re.escape(name)}\b", re.MULTILINE)
    for path in sorted(islice(_sources(own), _MOST_FILES)):
        if path in known:
            continue
        text = _read(path)
        found = _DECORATED.search(text)
        if found is not None and mentions.search(text):
            yield SourceLocation(str(path), text.count("\n", 0, found.end()) + 1)


def _read(path: Path) -> str:
    """Return the text of a file, or an empty string if it cannot be read.

    It may be a folder, or a lock file of Emacs, which is a broken symbolic link.
    """
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _sources(own: Path) -> Iterator[Path]:
    """Yield the Python files of the app's package; without a package, those of its folder and the subfolders."""
    top = own.parent
    candidates: Iterable[Path]
    if not (top / "__init__.py").is_file():
        candidates = [*top.glob("*.py"), *top.glob("*/*.py")]
    else:
        while (top.parent / "__init__.py").is_file():
            top = top.parent
        candidates = top.rglob("*.py")
    for path in candidates:
        folders = path.relative_to(top).parts[:-1]
        is_test = path.name.startswith(("test_", "conftest"))
        if not (is_test or any(name.startswith(".") or name in _NOT_SOURCES for name in folders)):
            yield path
