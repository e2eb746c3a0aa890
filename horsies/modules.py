"""Importing the modules in which tasks live, and saying clearly why one can't be imported."""

import importlib
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from glob import glob
from pathlib import Path
from types import ModuleType

from horsies.errors import ErrorCode, HorsiesError, SourceLocation, flatten

_LIBRARY = str(Path(__file__).parent)
_IMPORT_MACHINERY = ("<frozen ", str(Path(importlib.__file__).parent))


def import_tasks(modules: Iterable[str]) -> list[HorsiesError]:
    """Import each module; what went wrong, or an empty list."""
    problems: list[HorsiesError] = []
    for module in modules:
        try:
            import_module(module)
        except HorsiesError as error:
            problems += flatten([error])
    return problems


def import_module(module: str) -> ModuleType:
    """Import a dotted module name, or a ``.py`` file as the module it is for everybody else.

    Raises:
        HorsiesError: HRS-210: it does not exist, or its code raised; HRS-1xx, HRS-2xx: what its code defines is wrong.
    """
    name = module_name(Path(module)) if module.endswith(".py") else module
    if _is_main(name):
        return sys.modules["__main__"]
    try:
        return importlib.import_module(name)
    except HorsiesError:
        raise
    except (Exception, SystemExit) as error:
        raise _import_error(name, error) from error


def module_name(path: Path) -> str:
    """The name under which a file is imported; its folder is made importable if no entry of the path leads to it."""
    file = path.resolve()
    for entry in sorted({Path(entry or ".").resolve() for entry in sys.path}, key=lambda entry: len(entry.parts)):
        if file.is_relative_to(entry):
            return ".".join(file.relative_to(entry).with_suffix("").parts)
    sys.path.insert(0, str(file.parent))
    return file.stem


def expand_globs(patterns: Sequence[str]) -> list[str]:
    """The modules that match patterns of dotted names (``shop.*.tasks``) or of files (``jobs/**/*.py``), sorted."""
    return sorted({module for pattern in patterns for module in _expand(pattern)})


def _expand(pattern: str) -> Iterator[str]:
    if pattern.endswith(".py"):
        yield from glob(pattern, recursive=True)
        return
    as_files = pattern.replace(".", "/") + ".py"
    for entry in sys.path:
        for file in glob(as_files, root_dir=entry or ".", recursive=True):
            parts = Path(file).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _is_main(name: str) -> bool:
    """Whether the module is the script that runs, which is not to be imported a second time."""
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if main is None:
        return False
    return name == getattr(spec, "name", None) or (spec is None and name == Path(main).stem)


def _import_error(name: str, error: BaseException) -> HorsiesError:
    if isinstance(error, ModuleNotFoundError) and error.name and (name == error.name or name.startswith(f"{error.name}.")):
        message = f"there is no module {name!r}"
        help_text = "name modules as in an import statement, as seen from the folder the command is run in"
        return HorsiesError(ErrorCode.MODULE_EXEC_ERROR, message, help_text=help_text)
    return HorsiesError(
        ErrorCode.MODULE_EXEC_ERROR,
        f"module {name!r} raised {type(error).__name__} while it was imported",
        location=raised_at(error),
        notes=[f"{type(error).__name__}: {error}"],
        help_text="the module must be importable by itself: `python -c 'import " + name + "'` shows the same",
    )


def raised_at(error: BaseException) -> SourceLocation | None:
    """The innermost line of the user's own code in a traceback."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return SourceLocation(error.filename, error.lineno)
    frames = [
        SourceLocation(frame.filename, frame.lineno)
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.lineno is not None and not frame.filename.startswith((_LIBRARY, *_IMPORT_MACHINERY))
    ]
    return frames[-1] if frames else None
