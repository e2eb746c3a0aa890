"""horsies: a PostgreSQL-backed task queue with types that hold end to end and errors as values.

``__init__.pyi`` lists the public names, one per line, for type checkers and for this module. Each name is imported from
its module at first use, so that a program that needs only a few, such as the command line for its help, does not load
the database driver.
"""

import inspect
from importlib import import_module
from pathlib import Path

_LINES = Path(__file__).with_suffix(".pyi").read_text().splitlines()
_MODULES = {name: module for _from, module, _import, name, *_ in map(str.split, _LINES)}
globals()["__all__"] = sorted(_MODULES, key=lambda name: (not name.isupper(), name[0] != name[0].upper(), name))


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise _unknown(name)
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value


def _unknown(name: str) -> Exception:
    """Return the error for an unknown name. It names the replacement of a name that the packages 0.x had.

    ``from horsies import …`` hides the message of an AttributeError, but shows that of an ImportError. ``hasattr`` and
    ``getattr`` with a default require an AttributeError. So the import system gets an ImportError for removed names,
    and all other callers get an AttributeError.
    """
    replacement = import_module("horsies.predecessor").REMOVED_NAMES.get(name)
    if replacement is None:
        return AttributeError(f"module {__name__!r} has no attribute {name!r}")
    msg = f"{name!r} of the horsies packages 0.x was removed: {replacement}"
    caller = inspect.stack(context=0)[2].frame
    is_import = caller.f_globals.get("__name__") == "importlib._bootstrap"
    return ImportError(msg, name=__name__) if is_import else AttributeError(msg)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
