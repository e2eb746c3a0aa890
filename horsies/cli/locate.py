"""Locating an app: ``pkg.mod:app``, ``pkg.mod`` or ``path/file.py:app``."""

import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from horsies.app import Horsies
from horsies.errors import ConfigurationError, ErrorCode, HorsiesError, collecting, raise_all, raised_at
from horsies.producer.suppression import sends_suppressed
from horsies.suggestions import similar_name
from horsies.tasks.discovery import import_file, import_module, make_importable

_SUFFIX = ".py"


def locate(locator: str) -> Horsies:
    """Import the module that a locator names, with sends suppressed, and return its app.

    The working directory becomes importable, as does the directory of a file that is named by its path. Mistakes in
    the tasks of the module are not raised here: `Horsies.check` reports them together with all others.

    Raises:
        ConfigurationError: HRS-207: the name does not exist or is not an app; HRS-206: the locator names only a module,
            which does not have exactly one app; HRS-210: the module raised an exception when it was imported.
        HorsiesError: an error that the module reported when it was imported, such as an invalid setting.
    """
    found: list[HorsiesError] = []
    suppressed: list[HorsiesError] = []
    with sends_suppressed(found=suppressed), collecting(found):
        try:
            app = _locate(locator)
        except HorsiesError as error:
            raise_all([*found, error])
            raise
    app.registry.problems += found
    app.registry.suppressed += suppressed
    return app


def _locate(locator: str) -> Horsies:
    place, colon, attribute = locator.partition(":")
    if not place or (colon and not attribute):
        message = f"{locator!r} does not name an app"
        raise _wrong(message, help_text="write MODULE:APP, as in instance:app")
    make_importable(Path.cwd())
    module = _import_file(place, colon + attribute) if _is_path(place) else _import(place)
    return _named_app(module, attribute) if attribute else _only_app(module)


def _wrong(message: str, *, notes: Iterable[str] = (), help_text: str | None) -> ConfigurationError:
    return ConfigurationError(ErrorCode.WORKER_INVALID_LOCATOR, message, notes=tuple(notes), help_text=help_text)


def _is_path(place: str) -> bool:
    return "/" in place or place.endswith(_SUFFIX)


def _import_file(place: str, rest: str) -> ModuleType:
    file = Path(place)
    if file.suffix != _SUFFIX or not file.is_file():
        raise _no_such_file(place, rest)
    return import_file(file)


def _no_such_file(place: str, rest: str) -> ConfigurationError:
    dotted = place.removesuffix(_SUFFIX).removeprefix("./").replace("/", ".")
    message = f"there is no file {place!r}"
    if "/" not in place:
        return _wrong(f"{message}; a module is named without {_SUFFIX!r}", help_text=f"write {dotted}{rest}")
    if Path(place + _SUFFIX).is_file():
        return _wrong(message, help_text=f"write {place}{_SUFFIX}{rest} or {dotted}{rest}")
    beside = [str(path) for path in Path(place).parent.glob(f"*{_SUFFIX}")]
    return _wrong(message, notes=[_cwd_note()], help_text=_did_you_mean(place, beside, rest))


def _import(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        message = f"{name!r} is not the name of a module"
        raise _wrong(message, help_text="write pkg.mod:app or path/file.py:app")
    try:
        return import_module(name)
    except HorsiesError as error:
        missing = error.__cause__
        if isinstance(missing, ModuleNotFoundError) and raised_at(missing) is None and _is_or_holds(missing.name, name):
            raise _no_such_module(name) from missing
        raise


def _is_or_holds(missing: str | None, name: str) -> bool:
    return missing is not None and f"{name}.".startswith(f"{missing}.")


def _no_such_module(name: str) -> ConfigurationError:
    parent, _, last = name.rpartition(".")
    if hasattr(sys.modules.get(parent), last):
        return _wrong(f"there is no module {name!r}", help_text=f"did you mean {parent}:{last}?")
    here = Path.cwd()
    files = [*here.glob(f"*{_SUFFIX}"), *here.glob(f"*/*{_SUFFIX}")]
    modules = [".".join(file.relative_to(here).with_suffix("").parts) for file in files]
    return _wrong(f"there is no module {name!r}", notes=[_cwd_note()], help_text=_did_you_mean(name, modules, ""))


def _cwd_note() -> str:
    return f"the working directory is {Path.cwd()}"


def _did_you_mean(name: str, known: Iterable[str], rest: str) -> str | None:
    similar = similar_name(name, known)
    return None if similar is None else f"did you mean {similar}{rest}?"


def _named_app(module: ModuleType, attribute: str) -> Horsies:
    found = getattr(module, attribute, None)
    if isinstance(found, Horsies):
        return found
    apps = list(_apps(module))
    if hasattr(module, attribute):
        message = f"{attribute!r} in module {module.__name__!r} is a {type(found).__name__}, not a Horsies app"
    else:
        message = f"module {module.__name__!r} has no {attribute!r}"
    similar = similar_name(attribute, apps, cutoff=0) or similar_name(attribute, dir(module))
    raise _wrong(message, help_text=None if similar is None else f"did you mean {module.__name__}:{similar}?")


def _only_app(module: ModuleType) -> Horsies:
    apps = _apps(module)
    if len(apps) == 1:
        return next(iter(apps.values()))
    spelled = ", ".join(f"{module.__name__}:{name}" for name in apps)
    message = f"module {module.__name__!r} has {len(apps) or 'no'} Horsies app{'s' if len(apps) != 1 else ''}"
    help_text = f"name one of them: {spelled}" if apps else "name the module that makes the app: MODULE:APP"
    raise ConfigurationError(ErrorCode.CLI_INVALID_ARGS, message, help_text=help_text)


def _apps(module: ModuleType) -> dict[str, Horsies]:
    """Return the apps of a module by name. An app that has several names is included once."""
    by_identity = {id(value): (name, value) for name, value in vars(module).items() if isinstance(value, Horsies)}
    return dict(by_identity.values())
