"""Importing the modules in which apps and tasks live, and saying clearly why one can't be imported."""

import importlib
import importlib.util
import os
import sys
import traceback
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

from pydantic import ValidationError

from horsies.config.retry import RetryPolicy
from horsies.errors import ConfigurationError, ErrorCode, HorsiesError, TaskDefinitionError, flatten, raised_at
from horsies.masking import mask_secrets

_SUFFIX = ".py"


def import_tasks(modules: Iterable[str]) -> list[HorsiesError]:
    """Import each module, given by its dotted name or its file; what went wrong, or an empty list."""
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
        ConfigurationError: HRS-210: there is none of that name, or its code raised.
        TaskDefinitionError: HRS-102: its code makes a wrong retry policy.
        HorsiesError: what its own code reports: a wrong task, a wrong setting.
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
    """Import a file under the name by which other modules import it, so that there is one module object.

    Its folder, or the one above its packages, becomes importable.

    Raises:
        ConfigurationError: HRS-207: its name belongs to another module; HRS-210: no such file, or its code raised.
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
    """The module that was imported for a name or a file; None: it was not."""
    if module.endswith(_SUFFIX):
        return _loaded_from(_absolute(Path(module)))
    return sys.modules.get("__main__" if module == _name_of_main() else module)


def share_module(name: str) -> None:
    """Let a module that makes an app be imported by its other names, too, as one and the same module.

    Otherwise there are two copies of the app, and a worker serves the one without tasks: ``python instance.py`` runs
    as ``__main__``, and its modules of tasks import ``instance``; a file of a folder without ``__init__.py`` is
    ``main`` for the locator ``shop/main.py``, and ``shop.main`` for others.
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
    """The names under which Python would import a file, without running the code of any package."""
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
    """Whether somebody types this program: a notebook, IPython, or the Python prompt."""
    return hasattr(sys, "ps1") or bool(sys.flags.interactive)


def are_retyped(*definitions: object) -> bool:
    """Whether functions or classes were typed in an interactive session, where a later one replaces an earlier one."""
    return is_interactive() and all(getattr(each, "__module__", None) == "__main__" for each in definitions)


def warn_of_redefinition(subject: str) -> None:
    """Warn, at the user's line, that this session defines something a second time."""
    message = f"{subject} is defined again: this session uses the new definition from now on"
    warnings.warn(message, UserWarning, skip_file_prefixes=(str(Path(__file__).parents[1]),))


def make_importable(folder: Path) -> None:
    """Put a folder first on the path."""
    if sys.path[:1] != [str(folder)]:
        sys.path.insert(0, str(folder))
        importlib.invalidate_caches()


def expand_globs(patterns: Sequence[str], exclude: Sequence[str] = ()) -> list[str]:
    """The modules that match patterns of dotted names (``shop.*.tasks``) or of files (``jobs/**/*.py``), sorted.

    Args:
        patterns: a module is found if it matches any of them.
        exclude: patterns of either kind; a module whose file matches any of them is left out.

    Raises:
        ConfigurationError: HRS-207, one of the two is a string and not a list of strings.
    """
    for name, given in (("patterns", patterns), ("exclude", exclude)):
        if isinstance(given, str):
            message = f"expand_module_globs takes a list of patterns as {name}, got the string {given!r}"
            raise ConfigurationError(ErrorCode.WORKER_INVALID_LOCATOR, message, help_text=f"write [{given!r}]")
    excluded = {file for pattern in exclude for _, file in _expand(pattern)}
    found = {module for pattern in patterns for module, file in _expand(pattern) if file not in excluded}
    return sorted(found)


def _expand(pattern: str) -> Iterator[tuple[str, Path]]:
    """The modules that match a pattern, each as `discover_tasks` takes it, and its file."""
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
    return Path(os.path.abspath(file))  # noqa: PTH100 # ".." goes, symbolic links stay


def place_of_main() -> str | None:
    """What other processes can import in place of the script that runs: a module or a file; None: there is nothing."""
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
    """The name by which others would import the script that runs; it is not to be imported a second time."""
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
        f"the module {name!r} raised {type(error).__name__} when it was imported",
        location=raised_at(error),
        notes=[text],
        help_text=f"for the whole traceback, run: python -c 'import {name}'",
    )
