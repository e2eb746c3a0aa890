"""Importing the modules that define apps and tasks, with clear errors for modules that cannot be imported."""

import importlib
import importlib.util
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from horsies.config.retry import RetryPolicy
from horsies.errors import (
    ConfigurationError,
    ErrorCode,
    HorsiesError,
    TaskDefinitionError,
    caller_location,
    flatten,
    raised_at,
)
from horsies.masking import mask_secrets

_SUFFIX = ".py"


def import_tasks(modules: Iterable[str]) -> list[HorsiesError]:
    """Import each module, given by its dotted name or its file. Return the errors; an empty list if there are none."""
    problems: list[HorsiesError] = []
    for module in modules:
        try:
            import_file(Path(module)) if module.endswith(_SUFFIX) else import_module(module)
        except HorsiesError as error:
            problems += flatten([error])
    return problems


def import_module(name: str) -> ModuleType:
    """Import a module by its dotted name.

    Raises:
        ConfigurationError: HRS-210: There is no module of that name, or its code raised an exception.
        TaskDefinitionError: HRS-102: Its code makes an invalid retry policy.
        HorsiesError: Its code defines an invalid task or setting.
    """
    if name == _name_of_main():
        return sys.modules["__main__"]
    try:
        return importlib.import_module(name)
    except HorsiesError as error:
        _note_stop(name, error)
        raise
    except (Exception, SystemExit) as error:
        raised = _import_error(name, error)
        _note_stop(name, raised)
        raise raised from error


def import_file(path: Path) -> ModuleType:
    """Import a file under the name by which other modules import it, so that only one module object exists.

    The folder of the file, or the one above its packages, is added to ``sys.path``.

    Raises:
        ConfigurationError: HRS-207: Its name belongs to another module. HRS-210: There is no such file, or its code
            raised an exception.
    """
    file = _absolute(path)
    loaded = _loaded_from(file)
    if loaded is not None:
        return loaded
    folder, names = file.parent, [file.stem]
    while (folder / "__init__.py").is_file():
        names.insert(0, folder.name)
        folder = folder.parent
    make_importable(folder)
    module = import_module(".".join(names))
    if module.__file__ is None or not file.samefile(module.__file__):
        owner = module.__file__ or "Python"
        message = f"{str(path)!r} cannot be imported: the name {module.__name__!r} belongs to {owner}"
        raise ConfigurationError(ErrorCode.WORKER_INVALID_LOCATOR, message, help_text="rename the file")
    return module


def loaded_module(module: str) -> ModuleType | None:
    """Return the module that was imported for a name or a file, or None if it was not imported."""
    if module.endswith(_SUFFIX):
        return _loaded_from(_absolute(Path(module)))
    return sys.modules.get("__main__" if module == _name_of_main() else module)


def share_module(name: str) -> None:
    """Register a module that makes an app under all names by which it can be imported, as one module object.

    Otherwise the app would exist twice, and a worker could serve the copy without tasks. For example,
    ``python instance.py`` runs as ``__main__`` while its task modules import ``instance``; and a file in a folder
    without ``__init__.py`` is ``main`` for the locator ``shop/main.py``, but ``shop.main`` for other modules.
    """
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None)
    if module is None or not isinstance(file, str) or not file.endswith(_SUFFIX):
        return
    names = set(_names_on_path(Path(file).absolute()))
    if name == "__main__" and module.__spec__ is not None:
        names.add(module.__spec__.name)
    for other in names - sys.modules.keys():
        package, _, last = other.rpartition(".")
        parent = _import_without_code(package) if package else None
        if package and parent is None:
            continue
        sys.modules[other] = module
        if parent is not None:  # for ``import shop.main``, after which the program says ``shop.main.app``
            setattr(parent, last, module)


def _import_without_code(package: str) -> ModuleType | None:
    """Import a package that has no ``__init__.py``; None if the name belongs to something that has code to run."""
    if package in sys.modules:
        return sys.modules[package]
    above, _, _ = package.rpartition(".")
    if above and _import_without_code(above) is None:
        return None
    found = importlib.util.find_spec(package)
    return importlib.import_module(package) if found is not None and found.origin is None else None


def _names_on_path(file: Path) -> Iterator[str]:
    """Yield the names under which Python would import a file without running the code of any package."""
    roots = [Path(entry or ".").absolute() for entry in sys.path]
    for root in roots:
        if not file.is_relative_to(root):
            continue
        relative = file.relative_to(root)
        name = ".".join(relative.with_suffix("").parts)
        packages = [*relative.parents][:-1]
        is_first = next((each / relative for each in roots if (each / relative).is_file()), None) == file
        has_code = any((each / package / f"__init__{_SUFFIX}").is_file() for each in roots for package in packages)
        is_name = all(part.isidentifier() for part in name.split(".")) and name not in sys.builtin_module_names
        if is_first and is_name and not has_code:
            yield name


def is_interactive() -> bool:
    """Whether this is an interactive session: a notebook, IPython or the Python prompt."""
    return hasattr(sys, "ps1") or bool(sys.flags.interactive)


def are_retyped(*definitions: object) -> bool:
    """Whether all were defined in an interactive session, where later definitions replace earlier ones."""
    return is_interactive() and all(getattr(each, "__module__", None) == "__main__" for each in definitions)


def warn_of_redefinition(subject: str) -> None:
    """Warn, at the line of user code, that an interactive session defines a name a second time."""
    message = f"{subject} is defined again: this session uses the new definition from now on"
    warnings.warn(message, UserWarning, skip_file_prefixes=(str(Path(__file__).parents[1]),))


def make_importable(folder: Path) -> None:
    """Put a folder first in ``sys.path``."""
    if sys.path[:1] != [str(folder)]:
        sys.path.insert(0, str(folder))
        importlib.invalidate_caches()


def expand_globs(patterns: Sequence[str], exclude: Sequence[str] = ()) -> list[str]:
    """Return the modules that match patterns of dotted names (``shop.*.tasks``) or files (``jobs/**/*.py``), sorted.

    Args:
        patterns: A module is returned if it matches any of them.
        exclude: Patterns of either kind. A module whose file matches any of them is excluded.

    Raises:
        ConfigurationError: HRS-207: An argument is a string instead of a list of strings.
    """
    for name, given in (("patterns", patterns), ("exclude", exclude)):
        if isinstance(given, str):
            message = f"{name} of expand_module_globs() must be a list of patterns, got the string {given!r}"
            raise ConfigurationError(ErrorCode.WORKER_INVALID_LOCATOR, message, help_text=f"write [{given!r}]")
    excluded = {file for pattern in exclude for _, file in _expand(pattern)}
    found = {module for pattern in patterns for module, file in _expand(pattern) if file not in excluded}
    return sorted(found)


def _expand(pattern: str) -> Iterator[tuple[str, Path]]:
    """Yield the modules that match a pattern, each in the form that `discover_tasks` takes, with its file."""
    if pattern.endswith(_SUFFIX):
        path = Path(pattern)
        for file in Path(path.anchor).glob(str(path.relative_to(path.anchor))):
            yield str(file), _absolute(file)
        return
    as_files = pattern.replace(".", "/")
    if not as_files or as_files.startswith("/"):
        return
    for entry in map(Path, sys.path):
        modules = [file for file in entry.glob(f"{as_files}{_SUFFIX}") if file.stem != "__init__"]
        for file in [*modules, *entry.glob(f"{as_files}/__init__{_SUFFIX}")]:
            module = file.parent if file.stem == "__init__" else file.with_suffix("")
            yield ".".join(module.relative_to(entry).parts), _absolute(file)


def _absolute(file: Path) -> Path:
    return Path(os.path.abspath(file))  # noqa: PTH100 - removes "..", but keeps symbolic links


def place_of_main() -> str | None:
    """Return the module or file that other processes can import in place of the main script; None if there is none."""
    main = sys.modules["__main__"]
    if main.__spec__ is not None:
        return main.__spec__.name
    file = getattr(main, "__file__", None)
    return str(Path(file).absolute()) if file and file.endswith(_SUFFIX) else None


def _loaded_from(file: Path) -> ModuleType | None:
    for module in list(sys.modules.values()):
        origin = getattr(module, "__file__", None)
        if isinstance(origin, str) and Path(origin).absolute() == file:
            return module
    return None


def _name_of_main() -> str | None:
    """Return the name by which other modules would import the main script, which must not be imported twice."""
    main = sys.modules["__main__"]
    if main.__spec__ is not None:
        return main.__spec__.name
    file = getattr(main, "__file__", None)
    return Path(file).stem if file else None


def _note_stop(name: str, error: HorsiesError) -> None:
    """Say that the import ended at an error, so that nobody takes the list of errors for complete."""
    last = flatten([error])[-1]
    if last.location is not None:  # otherwise no code ran: there is no such module
        last.notes += (f"the import of {name!r} stopped at this error: there may be more errors below it",)


def _import_error(name: str, error: BaseException) -> HorsiesError:
    if isinstance(error, ValidationError) and error.title == RetryPolicy.__name__:
        wrong = [detail["msg"].removeprefix("Value error, ") for detail in error.errors(include_url=False)]
        return TaskDefinitionError(
            ErrorCode.TASK_INVALID_OPTIONS, f"invalid RetryPolicy: {'; '.join(wrong)}", location=raised_at(error)
        )
    text = mask_secrets(traceback.format_exception_only(error)[-1].rstrip())
    return ConfigurationError(
        ErrorCode.MODULE_EXEC_ERROR,
        f"the module {name!r} could not be imported: it raised {type(error).__name__}",
        location=raised_at(error),
        notes=[text],
        help_text=f"to see the full traceback, run: python -c 'import {name}'",
    )


def importer_of(app: object, name: str) -> Callable[[], Any]:
    """Return a function with which another process imports an app.

    It imports the module that made the app, or else the main module, and reads the app's global variable.

    Args:
        app: The app.
        name: The name of the module that made it.

    Raises:
        ConfigurationError: HRS-207: No module has the app as a global variable.
    """
    for module_name in (name, "__main__"):
        module = sys.modules.get(module_name)
        attribute = next((key for key, value in vars(module).items() if value is app), None) if module else None
        place = place_of_main() if module_name == "__main__" else module_name
        if attribute is not None and place is not None:
            return partial(_import_attribute, place, attribute)
    raise ConfigurationError(
        ErrorCode.WORKER_INVALID_LOCATOR,
        f"child processes cannot import {app!r}: no module has it as a global variable",
        location=caller_location(),
        help_text='assign it to a name at the top level of a module, or use start_method="fork"',
    )


def _import_attribute(place: str, attribute: str) -> Any:
    module = import_file(Path(place)) if place.endswith(".py") else import_module(place)
    return getattr(module, attribute)
